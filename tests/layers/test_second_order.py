"""Gradients of gradients: penalties on them, learning to learn."""

import contextlib

import keras
import pytest

from keras_deconv import ChannelDeconv
from keras_deconv import DeconvConv2D
from keras_deconv import DeconvDense

STEP = 1e-5
# More rows than features: of a matrix with eigenvalues that repeat, "eigh" has
# no second derivatives.
CONV = (24, 4, 4, 2)


@pytest.fixture(autouse=True)
def float64():
    """Lets JAX compute in float64."""
    context = contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        import jax

        context = jax.enable_x64(True)
    with context:
        yield


def penalty(layer, weights):
    """Returns a function of inputs: a penalty on the gradient of a layer.

    The sum of squares of the gradient of `sum(outputs ** 2 * weights)` for the
    inputs, and the gradient of that.
    """

    def objective(outputs):
        return keras.ops.sum(outputs**2 * weights)

    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            # With XLA, TensorFlow has no second derivatives of conditions.
            may_compile = layer.update_every == 1 and layer.method != "eigh"

            @tf.function(jit_compile=may_compile)
            def call(inputs):
                with tf.GradientTape() as outer:
                    outer.watch(inputs)
                    with tf.GradientTape() as inner:
                        inner.watch(inputs)
                        value = objective(layer(inputs, training=True))
                    grad = inner.gradient(value, inputs)
                    result = tf.reduce_sum(grad**2)
                return result, outer.gradient(result, inputs)

        case "torch":
            import torch

            def call(inputs):
                inputs = torch.tensor(inputs, requires_grad=True)
                value = objective(layer(inputs, training=True))
                (grad,) = torch.autograd.grad(value, inputs, create_graph=True)
                result = (grad**2).sum()
                (grad,) = torch.autograd.grad(result, inputs)
                return result.detach(), grad

        case "jax":
            import jax

            trainable = [v.value for v in layer.trainable_variables]
            state = [v.value for v in layer.non_trainable_variables]

            def pure(inputs):
                outputs, _ = layer.stateless_call(
                    trainable, state, inputs, training=True
                )
                return objective(outputs)

            call = jax.jit(
                jax.value_and_grad(lambda x: (jax.grad(pure)(x) ** 2).sum())
            )
    return call


def conv(**settings):
    return DeconvConv2D(3, 3, **settings)


@pytest.mark.parametrize(
    ("make", "settings", "shape"),
    [
        pytest.param(conv, {"update_every": 8}, CONV, id="conv"),
        # Of fewer steps than PyTorch computes by eigenvalues.
        pytest.param(conv, {"num_iterations": 2}, CONV, id="products"),
        pytest.param(conv, {"method": "minimax"}, CONV, id="minimax"),
        pytest.param(conv, {"method": "eigh"}, CONV, id="eigh"),
        pytest.param(
            lambda **settings: DeconvDense(2, **settings),
            {"block_size": 256},
            (3, 256),
            id="few rows",
        ),
        pytest.param(ChannelDeconv, {"update_every": 8}, CONV, id="channel"),
    ],
)
def test_gradient_of_a_gradient(make, settings, shape, rng):
    """By differences of the penalty; D is that of the batch in all steps."""
    keras.utils.set_random_seed(0)
    settings = {"update_every": 1, "epsilon": 1e-2, **settings}
    layer = make(**settings, dtype="float64")
    layer.build((None, *shape[1:]))
    inputs, direction = rng.normal(size=(2, *shape))
    weights = keras.ops.convert_to_tensor(
        rng.normal(size=layer.compute_output_shape(shape)), "float64"
    )
    function = penalty(layer, weights)
    _, grad = function(inputs)
    more, less = (
        float(function(inputs + step * direction)[0]) for step in (STEP, -STEP)
    )
    expected = (more - less) / (2 * STEP)
    actual = (keras.ops.convert_to_numpy(grad) * direction).sum()
    assert actual == pytest.approx(expected, rel=1e-6)

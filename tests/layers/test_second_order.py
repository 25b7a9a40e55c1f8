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

            def call(inputs):
                inputs = tf.constant(inputs)
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


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(lambda **s: DeconvConv2D(3, 3, **s), CONV, id="conv"),
        pytest.param(
            lambda **s: DeconvConv2D(3, 3, num_iterations=2, **s),
            CONV,
            id="products",
        ),
        pytest.param(
            lambda **s: DeconvConv2D(3, 3, method="minimax", **s),
            CONV,
            id="minimax",
        ),
        pytest.param(
            lambda **s: DeconvConv2D(3, 3, method="eigh", **s), CONV, id="eigh"
        ),
        pytest.param(
            lambda **s: DeconvDense(2, **{**s, "block_size": 256}),
            (3, 256),
            id="few rows",
        ),
        pytest.param(lambda **s: ChannelDeconv(**s), CONV, id="channel"),
    ],
)
@pytest.mark.parametrize("period", [1, 8])
def test_gradient_of_a_gradient(make, shape, period, rng):
    """By differences of the penalty; D is of the batch in either period."""
    keras.utils.set_random_seed(0)
    layer = make(update_every=period, epsilon=1e-2, dtype="float64")
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

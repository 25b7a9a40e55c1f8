"""Layers in loops and models as people write them."""

import keras
import numpy as np
import pytest
from keras import ops

import compare
import family
import keras_deconv
from keras_deconv import ChannelDeconv
from keras_deconv import DeconvConv2D
from keras_deconv import DeconvDense
from keras_deconv import DeconvDepthwiseConv2D
from keras_deconv.callbacks import WhitenessMonitor

SHAPE = (8, 6, 6, 4)
on_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="asks PyTorch"
)


@pytest.fixture
def images(correlated):
    return correlated(*SHAPE)


def built(layer):
    layer.build(SHAPE)
    return layer


@on_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda **settings: DeconvConv2D(3, 3, **settings),
        lambda **settings: DeconvDense(3, **settings),
        lambda **settings: DeconvDepthwiseConv2D(3, **settings),
        ChannelDeconv,
    ],
    ids=["conv", "dense", "depthwise", "channel"],
)
@pytest.mark.parametrize("method", ["newton_schulz", "eigh"])
def test_autocast_leaves_statistics_alone(make, method, images):
    import torch

    found = []
    for enabled in (False, True):
        keras.utils.set_random_seed(0)
        layer = built(make(method=method))
        inputs = torch.tensor(images, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for _ in range(2):
                loss = layer(inputs, training=True).float().square().mean()
        loss.backward()
        assert torch.isfinite(inputs.grad).all()
        found.append(family.values(layer.non_trainable_weights))
    for alone, cast in zip(*found, strict=True):
        np.testing.assert_array_equal(alone, cast)


@on_torch
@pytest.mark.parametrize("num_iterations", [2, 5])
def test_autocast_of_the_pass_back_leaves_statistics_alone(num_iterations, rng):
    import torch

    columns = torch.tensor(rng.normal(size=(1, 50, 6)), dtype=torch.float32)
    found = []
    for enabled in (False, True):
        inputs = columns.clone().requires_grad_()
        mean = keras_deconv.ops.mean(inputs)
        covariance = keras_deconv.ops.covariance(inputs, mean, 1e-3)
        root = keras_deconv.ops.inverse_sqrt(covariance, num_iterations)
        loss = root.square().sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss.backward()
        found.append(inputs.grad)
    torch.testing.assert_close(*found, rtol=0, atol=0)


@on_torch
@pytest.mark.parametrize("update_every", [1, 8])
def test_inference_before_training_in_one_gradient(update_every, images):
    import torch

    layer = built(DeconvConv2D(3, 3, update_every=update_every))
    inputs = torch.tensor(images, requires_grad=True)
    alone = layer(inputs, training=False).square().mean()
    (expected,) = torch.autograd.grad(alone, inputs)
    before = layer(inputs, training=False).square().mean()
    layer(inputs, training=True)
    (actual,) = torch.autograd.grad(before, inputs)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_channel_deconv_takes_the_channels_it_was_built_for(data_format):
    layer = ChannelDeconv(data_format=data_format)
    layer.build((None, 8, 8, 8))
    axis = 3 if data_format == "channels_last" else 1
    shape = [2, 8, 8, 8]
    shape[axis] = 10
    with pytest.raises(ValueError, match="8"):
        layer(np.ones(shape, "float32"))


@keras.saving.register_keras_serializable("real_use")
class Gained(DeconvConv2D):
    """Keeps an argument under another name, as Keras's classes may."""

    def __init__(self, *args, gain=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self._gain = gain

    def get_config(self):
        return {**super().get_config(), "gain": self._gain}


def test_subclass_with_an_argument_of_its_own():
    layer = Gained(3, 3, gain=2.0, num_iterations=4)
    again = Gained.from_config(layer.get_config())
    assert (again._gain, again.num_iterations) == (2.0, 4)
    model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
    assert keras_deconv.fold(model).layers[0].filters == 3


def test_monitor_of_a_model_that_is_not_built(images):
    model = keras.Sequential(
        [DeconvDense(2), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    logs = model.fit(
        images,
        np.zeros((len(images), 1)),
        callbacks=[WhitenessMonitor(images)],
        verbose=0,
    )
    assert any(name.endswith("condition") for name in logs.history)


def test_stride_beyond_the_image(images):
    expected, actual = (
        built(DeconvConv2D(2, 3, kernel_initializer="ones", sampling_stride=s))
        for s in (6, 2**31 - 1)
    )
    for layer in (expected, actual):
        layer(images, training=True)
    for one, other in zip(
        family.values(expected.weights),
        family.values(actual.weights),
        strict=True,
    ):
        np.testing.assert_allclose(other, one, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_dense_takes_whole_numbers(dtype):
    inputs = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    layer = DeconvDense(2)
    outputs = layer(inputs)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
    expected = inputs.astype("float32") @ ops.convert_to_numpy(layer.kernel)
    compare.assert_close(outputs, expected)


def test_channel_deconv_in_float64(images):
    layer = ChannelDeconv(dtype="float64")
    inputs = images.astype("float64") / 3
    if keras.backend.backend() == "jax":
        pytest.skip("float64 is behind a switch of the process")
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(inputs)), inputs)


@on_torch
def test_gradients_of_torch_func(images):
    import torch

    # `vmap` does not take Keras's convolutions.
    layer = built(DeconvDense(2))
    trainable, rest = (
        [variable.value.detach() for variable in variables]
        for variables in (
            layer.trainable_variables,
            layer.non_trainable_variables,
        )
    )
    inputs = torch.tensor(images)

    def loss(trainable, inputs):
        outputs, _ = layer.stateless_call(
            trainable, rest, inputs, training=True
        )
        return outputs.square().mean()

    found = torch.func.grad(loss, argnums=1)(trainable, inputs)
    inputs.requires_grad_()
    (expected,) = torch.autograd.grad(loss(trainable, inputs), inputs)
    torch.testing.assert_close(found, expected)
    many = torch.func.vmap(torch.func.grad(loss, argnums=1), (None, 0))
    pair = torch.stack([inputs.detach(), 2 * inputs.detach()])
    torch.testing.assert_close(many(trainable, pair)[0], expected)


@on_torch
def test_parameters_take_gradients_and_averages(images):
    import copy

    import torch
    from torch.optim.swa_utils import AveragedModel
    from torch.optim.swa_utils import get_swa_multi_avg_fn

    layer = keras_deconv.DeconvConv2D(2, 3, freeze_after=3)
    model = keras.Sequential([keras.Input(images.shape[1:]), layer])
    model.requires_grad_(False)
    model.requires_grad_(True)
    other = copy.deepcopy(model)
    averaged = AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())
    optimizer = torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(images, training=True).square().mean().backward()
        kept = [weight.numpy(force=True) for weight in non_trainable(layer)]
        optimizer.step()
        averaged.update_parameters(model)
        for old, weight in zip(kept, non_trainable(layer), strict=True):
            np.testing.assert_array_equal(old, weight.numpy(force=True))
    with torch.no_grad():
        for mine, its in zip(
            other.parameters(), model.parameters(), strict=True
        ):
            mine.lerp_(its, 0.5)
    # Half of five steps: the next one is the third or the fourth.
    assert other.layers[0].step.value == 2.5
    other(images, training=True)
    assert np.isfinite(ops.convert_to_numpy(other(images))).all()


def non_trainable(layer):
    return [weight.value for weight in layer.non_trainable_weights]


def test_arrays_of_numpy_go_into_a_layer_by_itself(images):
    layer = keras_deconv.DeconvConv2D(2, 3)
    expected = layer(images, training=True)
    layer.step.assign(0)
    found, _ = layer.stateless_call(
        [weight.value for weight in layer.trainable_variables],
        [weight.value for weight in layer.non_trainable_variables],
        images,
        training=True,
    )
    compare.assert_close(found, expected)

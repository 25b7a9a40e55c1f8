import math

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_deconv import deconvolutionize
from keras_deconv.models import initialize_like_torch

# A layer of each kind, the shape of its inputs, and what torch calls the
# fan_in of each kernel: channels of one group times taps.
KINDS = {
    "dense": (layers.Dense(64), (48,), {"kernel": 48}),
    "conv1d": (layers.Conv1D(64, 3), (9, 16), {"kernel": 16 * 3}),
    "conv2d": (layers.Conv2D(64, (3, 5)), (9, 9, 4), {"kernel": 4 * 15}),
    "conv3d": (layers.Conv3D(32, 3), (5, 5, 5, 2), {"kernel": 2 * 27}),
    "grouped": (
        layers.Conv2D(64, 3, groups=4),
        (9, 9, 32),
        {"kernel": 32 // 4 * 9},
    ),
    "depthwise1d": (
        layers.DepthwiseConv1D(5, depth_multiplier=2),
        (9, 64),
        {"kernel": 5},
    ),
    "depthwise2d": (
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        (9, 9, 64),
        {"kernel": 9},
    ),
    "separable2d": (
        layers.SeparableConv2D(32, 3, depth_multiplier=2),
        (9, 9, 32),
        {"depthwise_kernel": 9, "pointwise_kernel": 64},
    ),
    # torch counts the filters of a transposed convolution.
    "transpose": (
        layers.Conv2DTranspose(8, 3),
        (9, 9, 64),
        {"kernel": 8 * 9},
    ),
}


@pytest.mark.parametrize(
    ("kind", "converted"),
    [
        *((kind, False) for kind in KINDS),
        *((kind, True) for kind in ("dense", "grouped", "separable2d")),
    ],
)
def test_bounds(kind, converted):
    layer, shape, fans = KINDS[kind]
    layer = type(layer).from_config(layer.get_config())
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    if converted:
        model = deconvolutionize(model)
    initialize_like_torch(model, seed=0)
    layer = model.get_layer(layer.name)
    for name, fan_in in fans.items():
        check_uniform(getattr(layer, name), 1 / math.sqrt(fan_in))
    assert np.ptp(ops.convert_to_numpy(layer.bias)) > 0
    check_bias(layer.bias, 1 / math.sqrt(fan_in))


def check_uniform(weight, bound):
    """Of n uniform values, the largest lies 1 / n below the bound."""
    values = ops.convert_to_numpy(weight).ravel()
    assert len(values) >= 250
    assert bound * (1 - 16 / len(values)) < np.max(np.abs(values)) <= bound
    assert abs(np.std(values) - bound / math.sqrt(3)) < 0.15 * bound
    assert abs(np.mean(values)) < 0.15 * bound


def check_bias(bias, bound):
    values = np.abs(ops.convert_to_numpy(bias))
    assert 0.5 * bound < np.max(values) <= bound


def network():
    inner = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(4, 3, name="nested")]
    )
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D()(inner(x))
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def kernels(model):
    return [
        ops.convert_to_numpy(weight)
        for weight in model.weights
        if "kernel" in weight.name
    ]


def test_twins_get_the_same_kernels():
    model = network()
    twin = deconvolutionize(model)
    initialize_like_torch(model, seed=3)
    initialize_like_torch(twin, seed=3)
    assert len(kernels(model)) == 3
    for ours, theirs in zip(kernels(model), kernels(twin), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.all(ops.convert_to_numpy(twin.get_layer("first").bias) != 0)


def test_seeds():
    model = network()

    def draw(seed):
        initialize_like_torch(model, seed)
        return kernels(model)[0]

    one = draw(1)
    assert np.all(one == draw(1))
    assert np.any(one != draw(2))
    assert np.any(draw(None) != draw(None))


def test_all_else_stays():
    model = network()
    norm = model.get_layer("norm")
    norm.set_weights([np.full(4, value) for value in (1, 2, 3, 4)])
    initialize_like_torch(model)
    assert [weight[0] for weight in norm.get_weights()] == [1, 2, 3, 4]


def test_unbuilt_layers_are_refused():
    model = keras.Sequential([layers.Dense(2, name="open")])
    with pytest.raises(ValueError, match=r"must be built.*'open'"):
        initialize_like_torch(model)

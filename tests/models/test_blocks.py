"""Strides count from the first pixel, as in torch, on even sides too."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_deconv import models
from keras_deconv.models import _blocks as blocks


@pytest.mark.parametrize("side", [6, 7])
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_strided_convolutions_are_padded_on_all_sides(
    rng, kind, kernel_size, side
):
    images = rng.normal(size=(2, side, side, 1)).astype("float32")
    inputs = keras.Input((side, side, 1))
    if kind == "conv":
        outputs = blocks.conv(inputs, 1, kernel_size, 2)
    else:
        outputs = blocks.depthwise_conv(inputs, kernel_size, 2)
    model = keras.Model(inputs, outputs)
    # A kernel that looks at the pixel at its centre alone.
    kernel = np.zeros((kernel_size, kernel_size, 1, 1))
    kernel[kernel_size // 2, kernel_size // 2] = 1
    model.set_weights([kernel])
    seen = ops.convert_to_numpy(model(images))
    np.testing.assert_array_equal(seen, images[:, ::2, ::2])


@pytest.mark.parametrize("side", [6, 7])
def test_max_pooling_is_centred(rng, side):
    images = rng.uniform(size=(2, side, side, 1)).astype("float32")
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    expected = windows.max((-2, -1))[:, ::2, ::2]
    inputs = keras.Input((side, side, 1))
    model = keras.Model(inputs, blocks.max_pool(inputs))
    np.testing.assert_array_equal(ops.convert_to_numpy(model(images)), expected)


def test_gate_scales_channels(rng):
    images = rng.normal(size=(2, 4, 4, 32)).astype("float32")
    inputs = keras.Input((4, 4, 32))
    model = keras.Model(inputs, blocks.squeeze_excite(inputs))
    squeeze, bias, excite, _ = model.get_weights()
    hidden = images.mean((1, 2)) @ squeeze[0, 0] + bias
    gate = 1 / (1 + np.exp(-np.maximum(hidden, 0) @ excite[0, 0]))
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(images)),
        images * gate[:, None, None],
        rtol=1e-5,
    )


def test_networks_have_channels_last():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="have channels last"):
            models.resnet18(input_shape=(3, 32, 32))
    finally:
        keras.config.set_image_data_format("channels_last")

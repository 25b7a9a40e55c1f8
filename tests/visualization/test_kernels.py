import math

import keras
import numpy as np
import pytest

import keras_deconv
from keras_deconv import visualization
from oracle import block_of

LAYERS = {
    "one-block": (keras_deconv.DeconvConv2D, {"filters": 2}, 3),
    "interleaved": (
        keras_deconv.DeconvConv2D,
        {"filters": 2, "block_size": 2},
        4,
    ),
    "contiguous": (
        keras_deconv.DeconvConv2D,
        {"filters": 2, "block_size": 2, "block_layout": "contiguous"},
        4,
    ),
    "groups": (keras_deconv.DeconvConv2D, {"filters": 4, "groups": 2}, 4),
    "depthwise": (keras_deconv.DeconvDepthwiseConv2D, {}, 4),
}


def make(name, rng):
    """Returns a built layer with a random symmetric D, and this D."""
    cls, arguments, channels = LAYERS[name]
    layer = cls(kernel_size=(3, 2), **arguments)
    layer.build((None, 6, 6, channels))
    (statistics,) = layer.all_statistics()
    deconv = rng.normal(size=statistics.moving[1].shape).astype("float32")
    deconv += np.swapaxes(deconv, 1, 2)
    statistics.assign(np.ones(deconv.shape[:2]), deconv)
    return layer, deconv


def expected_kernel(layer, deconv, channel):
    """Entry by entry, by the index formula of the blocks."""
    (statistics,) = layer.all_statistics()
    blocks, taps = statistics.blocks, math.prod(layer.kernel_size)
    per_group = blocks.channels // blocks.groups
    group, own = divmod(channel, per_group)
    row = own * taps + np.ravel_multi_index((1, 1), layer.kernel_size)
    kernel = np.zeros((per_group, taps))
    for part in block_of(per_group * taps, blocks.count, blocks.layout):
        if row not in part:
            continue
        at = list(part).index(row)
        for position, feature in enumerate(part):
            kernel.flat[feature] = deconv[group, at, position]
    return kernel.T.reshape(*layer.kernel_size, per_group)


@pytest.mark.parametrize("name", LAYERS)
def test_kernels_are_rows_of_d(name, rng):
    layer, deconv = make(name, rng)
    kernels = visualization.deconv_kernels(layer)
    for channel, kernel in enumerate(kernels):
        np.testing.assert_allclose(
            kernel, expected_kernel(layer, deconv, channel), rtol=1e-6
        )


def test_figure_shows_the_kernels(rng):
    layer, _ = make("one-block", rng)
    kernels = visualization.deconv_kernels(layer)
    figure = visualization.plot_deconv_kernels(layer)
    panels = [axes for axes in figure.axes if axes.images]
    grid = np.array(panels).reshape(3, 4)
    for channel in range(3):
        limit = np.abs(kernels[channel]).max()
        for source in range(3):
            (image,) = grid[channel, source].images
            np.testing.assert_array_equal(
                image.get_array(), kernels[channel, ..., source]
            )
            assert image.get_clim() == (-limit, limit)
        (image,) = grid[channel, 3].images
        np.testing.assert_allclose(
            image.get_array(), 0.5 + kernels[channel] / limit / 2, rtol=1e-6
        )
    assert grid[1, 0].get_ylabel() == "whitens green"
    assert grid[0, 2].get_title() == "from blue"


def test_channels_are_chosen(rng):
    layer, _ = make("interleaved", rng)
    kernels = visualization.deconv_kernels(layer)
    figure = visualization.plot_deconv_kernels(layer, channels=(3, 1))
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 4
    np.testing.assert_array_equal(
        panels[1].images[0].get_array(), kernels[3, ..., 1]
    )


def test_figure_of_groups_shows_their_channels(rng):
    layer, _ = make("depthwise", rng)
    kernels = visualization.deconv_kernels(layer)
    figure = visualization.plot_deconv_kernels(layer)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 3
    np.testing.assert_array_equal(
        panels[2].images[0].get_array(), kernels[2, ..., 0]
    )


def test_channel_must_exist(rng):
    layer, _ = make("one-block", rng)
    with pytest.raises(ValueError, match=r"some of 0 to 2.*\(3,\)"):
        visualization.plot_deconv_kernels(layer, channels=(3,))


@pytest.mark.parametrize(
    "layer",
    [
        keras_deconv.DeconvDense(2),
        keras_deconv.DeconvConv2D(2, 1),
        keras_deconv.DeconvConv2DTranspose(2, 3),
        keras.layers.Conv2D(2, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layer_must_whiten_patches(layer):
    layer.build((None, 6, 6, 3))
    with pytest.raises(ValueError, match="whitens patches"):
        visualization.plot_deconv_kernels(layer)


def test_layer_must_be_built():
    with pytest.raises(ValueError, match="must be a built"):
        visualization.deconv_kernels(keras_deconv.DeconvConv2D(2, 3))

"""Deconvolution kernels: what D does to an image (figure 2)."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_deconv.layers import RunningStatistics
from keras_deconv.layers import Whitening
from keras_deconv.visualization._style import show_signed

_COLORS = ("red", "green", "blue")
_MOST_CHANNELS = 3


def deconv_kernels(layer: Any) -> np.ndarray:
    """Returns the rows of D at the centre tap, as kernels.

    A convolution with one of them whitens one channel: row `(c, centre)` of
    the moving D, put back into the order of pixels and channels. Pixels that
    are in another block are zero.

    Args:
        layer: A built layer with a kernel of two spatial dimensions.

    Returns:
        `(C, height, width, C / groups)`: for each channel, what it takes
        from the pixels around it, of each channel of its group.

    Raises:
        ValueError: If the layer whitens no patches of two dimensions.
    """
    statistics = _patch_statistics(layer)
    blocks = statistics.blocks
    per_group = blocks.channels // blocks.groups
    one_hot = np.zeros(
        (blocks.taps, per_group, blocks.channels), layer.statistics_dtype
    )
    centre = np.ravel_multi_index(
        [size // 2 for size in layer.kernel_size], layer.kernel_size
    )
    for channel in range(blocks.channels):
        one_hot[centre, channel % per_group, channel] = 1
    shape = (*layer.kernel_size, per_group, blocks.channels)
    kernels, _ = statistics.fold(one_hot.reshape(shape), None)
    return np.moveaxis(np.asarray(ops.convert_to_numpy(kernels)), -1, 0)


def plot_deconv_kernels(
    layer: Any, channels: Sequence[int] | None = None
) -> Figure:
    """Draws the kernels by which D whitens channels (figure 2 of the paper).

    A row is a channel that is whitened, a column a channel that it takes
    from; of three channels, red, green and blue, a last column shows the
    kernel as an image. In natural images the centre is positive and its
    surround negative, as in the receptive fields of ganglion cells.

    Args:
        layer: A built layer with a kernel of two spatial dimensions.
        channels: Channels to draw, at most all; by default the first three.

    Returns:
        The figure. Colours are symmetric about zero, with one scale a row.

    Raises:
        ValueError: If the layer whitens no patches of two dimensions, or a
            channel does not exist.
    """
    kernels = deconv_kernels(layer)
    if channels is None:
        channels = range(min(len(kernels), _MOST_CHANNELS))
    if not len(channels) or not all(
        isinstance(each, numbers.Integral) and 0 <= each < len(kernels)
        for each in channels
    ):
        raise ValueError(
            f"`channels` must be some of 0 to {len(kernels) - 1}. "
            f"Received: channels={channels!r}"
        )
    per_group = kernels.shape[-1]
    is_grouped = per_group < len(kernels)
    sources = range(min(per_group, _MOST_CHANNELS)) if is_grouped else channels
    is_color = len(kernels) == per_group == len(_COLORS)
    columns = len(sources) + is_color
    figure = Figure(
        figsize=(2.1 * columns + 1.2, 2.1 * len(channels) + 0.6),
        layout="constrained",
    )
    grid = figure.subplots(len(channels), columns, squeeze=False)
    for row, channel in zip(grid, channels, strict=True):
        kernel = kernels[channel]
        limit = np.abs(kernel).max()
        for index, source in enumerate(sources):
            image = show_signed(row[index], kernel[..., source], limit)
        figure.colorbar(image, ax=list(row), pad=0.02)
        row[0].set_ylabel(f"whitens {_name(channel, is_color)}")
        if is_color:
            _show_color(row[-1], kernel / limit)
    for index, source in enumerate(sources):
        name = _name(source, is_color)
        suffix = " of its group" if is_grouped else ""
        grid[0, index].set_title(f"from {name}{suffix}")
    if is_color:
        grid[0, -1].set_title("as an image")
    return figure


def _patch_statistics(layer: Any) -> RunningStatistics:
    size = getattr(layer, "kernel_size", ())
    if isinstance(layer, Whitening) and layer.built and len(size) == 2:
        statistics = layer.all_statistics()[0]
        # A transposed convolution whitens single pixels, whatever its size.
        if statistics.blocks.taps == math.prod(size) > 1:
            return statistics
    raise ValueError(
        "The layer must be a built deconvolution layer that whitens patches "
        f"of two dimensions. Received: '{layer.name}' of class "
        f"'{type(layer).__name__}'"
    )


def _show_color(axes: Axes, kernel: np.ndarray) -> None:
    """Shows a kernel between -1 and 1 as an image, zero in grey."""
    axes.set(xticks=[], yticks=[])
    axes.imshow(np.clip((kernel + 1) / 2, 0, 1))


def _name(channel: int, is_color: bool) -> str:
    return _COLORS[channel] if is_color else f"channel {channel}"

"""Patches: what each position of a convolution sees of its input."""

import math
from collections.abc import Sequence

from keras import ops

from keras_deconv._engine import reshape
from keras_deconv._engine import slice_axis
from keras_deconv._engine import take_every
from keras_deconv._types import DataFormat
from keras_deconv._types import Padding
from keras_deconv._types import Tensor
from keras_deconv.ops._axes import Axis
from keras_deconv.ops._axes import at_least_zero
from keras_deconv.ops._axes import axes_of
from keras_deconv.ops._axes import channels_last
from keras_deconv.ops._axes import size_of


def sampled_patches(
    inputs: Tensor,
    kernel_size: int | Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    dilation_rate: int | Sequence[int] = 1,
    padding: Padding = "valid",
    sampling_stride: int | Sequence[int] | None = 1,
    data_format: DataFormat = "channels_last",
) -> Tensor:
    """Returns the patches under every S-th output position, on each axis.

    Network deconvolution, section 4.5.2: neighbouring patches overlap, so
    statistics from a subset of them are as good. Zero padding belongs to
    the patches, as it does in the convolution.

    The input is cut into one cell for each patch. Patches that do not
    overlap, which is so for S not below the kernel size, are parts of their
    cells; others go on in the next ones. `keras.ops.image.extract_patches`
    would multiply with a one-hot kernel.

    Args:
        inputs: `(n, *spatial, C)`, or `(n, C, *spatial)` if channels come
            first. Spatial sizes may be unknown while a graph is traced.
        kernel_size: Taps along each spatial axis.
        strides: Strides of the convolution.
        dilation_rate: Dilation of the convolution.
        padding: `"valid"`, `"same"` or `"causal"` (all zeros before the
            first position), as in the convolution.
        sampling_stride: S, the distance between sampled output positions,
            or one for each axis. None stands for `default_stride`.
        data_format: Where the channels of `inputs` are.

    Returns:
        `(n, *sampled, C, taps)`, where each sampled size is the output size
        of the convolution divided by S, rounded up.

    Raises:
        ValueError: If the inputs, padding included, are smaller than the
            kernel, or an argument is out of range.
    """
    inputs = channels_last(inputs, data_format)
    axes = axes_of(
        inputs, kernel_size, strides, dilation_rate, padding, sampling_stride
    )
    rank = len(axes)
    if not any(axis.reach for axis in axes):
        inputs = take_every(inputs, [axis.step for axis in axes])
        return ops.expand_dims(inputs, -1)
    inputs = _frame(inputs, axes)
    for index, axis in enumerate(axes):
        # The axes before have become two each, of positions and of taps.
        inputs = _windows(inputs, 2 * index + 1, axis)
    positions, taps = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    inputs = ops.transpose(inputs, (0, *positions, 2 * rank + 1, *taps))
    counts = [size_of(inputs, axis) for axis in range(1, rank + 1)]
    channels, num_taps = inputs.shape[rank + 1], math.prod(inputs.shape[-rank:])
    return reshape(inputs, (-1, *counts, channels, num_taps))


def _frame(inputs: Tensor, axes: Sequence[Axis]) -> Tensor:
    """Makes axes of whole cells: puts zeros around them, or cuts them off."""
    sizes = [axis.num_cells * axis.step for axis in axes]
    pad_width = [
        (axis.before, at_least_zero(size - axis.before - known))
        for axis, size, known in zip(
            axes,
            sizes,
            (size_of(inputs, index) for index in range(1, len(axes) + 1)),
            strict=True,
        )
    ]
    if not all(isinstance(n, int) and n == 0 for pad in pad_width for n in pad):
        inputs = ops.pad(inputs, [(0, 0), *pad_width, (0, 0)])
    for index, size in enumerate(sizes, start=1):
        inputs = slice_axis(inputs, index, 0, size)
    return inputs


def _windows(inputs: Tensor, index: int, axis: Axis) -> Tensor:
    """Replaces an axis by two: positions, and the taps that each sees."""
    sizes = [size_of(inputs, other) for other in range(1, len(inputs.shape))]
    sizes[index - 1 : index] = [axis.num_cells, axis.step]
    inputs = reshape(inputs, (-1, *sizes))
    parts = [
        _take_taps(
            slice_axis(inputs, index, cell, axis.count),
            index + 1,
            within,
            axis.dilation,
        )
        for cell, within in axis.taps.items()
    ]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, index + 1)


def _take_taps(
    inputs: Tensor, axis: int, within: Sequence[int], dilation: int
) -> Tensor:
    if dilation == 1 or len(within) == 1:
        return slice_axis(inputs, axis, within[0], len(within))
    every = (slice(None),) * axis
    return inputs[(*every, slice(within[0], within[-1] + 1, dilation))]

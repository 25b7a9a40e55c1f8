"""Patches: what each position of a convolution sees of its input."""

import itertools
import math
from collections.abc import Sequence

from keras import ops

from keras_deconv._engine import slice_axis
from keras_deconv._engine import take_every
from keras_deconv._types import DataFormat
from keras_deconv._types import Padding
from keras_deconv._types import Tensor


def sampled_patches(
    inputs: Tensor,
    kernel_size: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    dilation_rate: int | Sequence[int] = 1,
    padding: Padding = "valid",
    sampling_stride: int | Sequence[int] = 1,
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
            or one for each axis.
        data_format: Where the channels of `inputs` are.

    Returns:
        `(n, *sampled, C, taps)`, where each sampled size is the output size
        of the convolution divided by S, rounded up.

    Raises:
        ValueError: If the inputs, padding included, are smaller than the
            kernel.
    """
    inputs = ops.convert_to_tensor(inputs)
    if data_format == "channels_first":
        inputs = ops.moveaxis(inputs, 1, -1)
    rank = len(kernel_size)
    strides = _per_axis(strides, rank)
    dilation_rate = _per_axis(dilation_rate, rank)
    reaches = [
        (size - 1) * dilation
        for size, dilation in zip(kernel_size, dilation_rate, strict=True)
    ]
    if padding == "same":
        inputs = _pad_same(inputs, reaches, strides)
    elif padding == "causal":
        before = [(reach, 0) for reach in reaches]
        inputs = ops.pad(inputs, [(0, 0), *before, (0, 0)])
    _check_sizes(inputs, reaches)
    samples = _per_axis(sampling_stride, rank)
    steps = [
        stride * sample for stride, sample in zip(strides, samples, strict=True)
    ]
    if not any(reaches):
        return ops.expand_dims(take_every(inputs, steps), -1)
    for axis, (reach, dilation, step) in enumerate(
        zip(reaches, dilation_rate, steps, strict=True)
    ):
        # The axes before have become two each, of positions and of taps.
        inputs = _windows(inputs, 2 * axis + 1, reach, dilation, step)
    positions, taps = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    inputs = ops.transpose(inputs, (0, *positions, 2 * rank + 1, *taps))
    counts = [_size(inputs, axis) for axis in range(1, rank + 1)]
    channels, num_taps = inputs.shape[rank + 1], math.prod(inputs.shape[-rank:])
    return ops.reshape(inputs, (-1, *counts, channels, num_taps))


def _check_sizes(inputs: Tensor, reaches: Sequence[int]) -> None:
    sizes = inputs.shape[1:-1]
    for size, reach in zip(sizes, reaches, strict=True):
        if size is not None and size <= reach:
            raise ValueError(
                "Inputs must not be smaller than the kernel, padding and "
                f"dilation included. Received: sizes {tuple(sizes)}, kernel "
                f"of {tuple(reach + 1 for reach in reaches)}"
            )


def _windows(
    inputs: Tensor, axis: int, reach: int, dilation: int, step: int
) -> Tensor:
    """Replaces an axis by two: positions, and the taps that each sees.

    The axis is cut into cells of `step`, one for each position, in which
    what it sees begins. A strided slice for each tap would do as well, but
    its gradient is an array of the size of the input for each of them.
    """
    count = (_size(inputs, axis) - reach - 1) // step + 1
    # Taps by the cell that they lie in, counted from that of the position.
    cells = itertools.groupby(
        range(0, reach + 1, dilation), lambda offset: offset // step
    )
    taps = {cell: [offset % step for offset in group] for cell, group in cells}
    num_cells = count + max(taps)
    inputs = _resize(inputs, axis, num_cells * step)
    sizes = [_size(inputs, other) for other in range(1, len(inputs.shape))]
    sizes[axis - 1 : axis] = [num_cells, step]
    inputs = ops.reshape(inputs, (-1, *sizes))
    parts = [
        _take_taps(
            slice_axis(inputs, axis, cell, count), axis + 1, within, dilation
        )
        for cell, within in taps.items()
    ]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis + 1)


def _take_taps(
    inputs: Tensor, axis: int, within: Sequence[int], dilation: int
) -> Tensor:
    if dilation == 1 or len(within) == 1:
        return slice_axis(inputs, axis, within[0], len(within))
    every = (slice(None),) * axis
    return inputs[(*every, slice(within[0], within[-1] + 1, dilation))]


def _resize(inputs: Tensor, axis: int, size: Tensor) -> Tensor:
    """Cuts off, or appends zeros to, the end of an axis."""
    missing = _at_least_zero(size - _size(inputs, axis))
    if not (isinstance(missing, int) and missing == 0):
        widths = [(0, 0)] * len(inputs.shape)
        widths[axis] = (0, missing)
        inputs = ops.pad(inputs, widths)
    return slice_axis(inputs, axis, 0, size)


def _pad_same(
    inputs: Tensor, reaches: Sequence[int], strides: Sequence[int]
) -> Tensor:
    """Pads so that a valid convolution gives `ceil(size / stride)` outputs.

    An odd amount puts the extra zero at the end, as every backend does.
    """
    if not any(reaches):
        return inputs
    pad_width = [(0, 0)]
    for axis, (reach, stride) in enumerate(
        zip(reaches, strides, strict=True), start=1
    ):
        if stride == 1:
            total = reach
        else:
            size = _size(inputs, axis)
            total = _at_least_zero(reach - (size - 1) % stride)
        pad_width.append((total // 2, total - total // 2))
    pad_width.append((0, 0))
    return ops.pad(inputs, pad_width)


def _size(inputs: Tensor, axis: int) -> Tensor:
    """Returns the size of an axis: an int, or a tensor if it is unknown."""
    known = inputs.shape[axis]
    return ops.shape(inputs)[axis] if known is None else known


def _at_least_zero(value: Tensor) -> Tensor:
    return max(value, 0) if isinstance(value, int) else ops.maximum(value, 0)


def _per_axis(value: int | Sequence[int], rank: int) -> Sequence[int]:
    return (value,) * rank if isinstance(value, int) else value

"""Patches: what each position of a convolution sees of its input."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from keras import ops

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
    sampling_stride: int = 1,
    data_format: DataFormat = "channels_last",
) -> Tensor:
    """Returns the patches under every S-th output position, on each axis.

    Network deconvolution, section 4.5.2: neighbouring patches overlap, so
    statistics from a subset of them are as good. Zero padding belongs to
    the patches, as it does in the convolution.

    If the sampled patches do not overlap, which is so for S not below the
    kernel size, they are cells of the input: it is reshaped. Else one
    strided slice is taken per tap. `keras.ops.image.extract_patches` would
    multiply with a one-hot kernel.

    Args:
        inputs: `(n, *spatial, C)`, or `(n, C, *spatial)` if channels come
            first. Spatial sizes may be unknown while a graph is traced.
        kernel_size: Taps along each spatial axis.
        strides: Strides of the convolution.
        dilation_rate: Dilation of the convolution.
        padding: `"valid"`, `"same"` or `"causal"` (all zeros before the
            first position), as in the convolution.
        sampling_stride: S, the distance between sampled output positions.
        data_format: Where the channels of `inputs` are.

    Returns:
        `(n, *sampled, C, taps)`, where each sampled size is the output size
        of the convolution divided by S, rounded up.

    Raises:
        ValueError: If the inputs, padding included, are smaller than the
            kernel.
    """
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
    steps = [stride * sampling_stride for stride in strides]
    apart = all(
        step > reach for step, reach in zip(steps, reaches, strict=True)
    )
    take = _cells if apart else _slices
    return take(inputs, reaches, dilation_rate, steps)


def _check_sizes(inputs: Tensor, reaches: Sequence[int]) -> None:
    sizes = inputs.shape[1:-1]
    for size, reach in zip(sizes, reaches, strict=True):
        if size is not None and size <= reach:
            raise ValueError(
                "Inputs must not be smaller than the kernel, padding and "
                f"dilation included. Received: sizes {tuple(sizes)}, kernel "
                f"of {tuple(reach + 1 for reach in reaches)}"
            )


def _cells(
    inputs: Tensor,
    reaches: Sequence[int],
    dilation_rate: Sequence[int],
    steps: Sequence[int],
) -> Tensor:
    """Cuts the input into cells of `steps`, each holding one whole patch.

    A strided slice per tap would do as well, but its gradient is an array
    of the size of the input for each of them.
    """
    rank = len(steps)
    counts = [
        (_size(inputs, axis) - reach - 1) // step + 1
        for axis, (reach, step) in enumerate(
            zip(reaches, steps, strict=True), 1
        )
    ]
    inputs = _resize(
        inputs,
        [count * step for count, step in zip(counts, steps, strict=True)],
    )
    channels = inputs.shape[-1]
    cells = ops.reshape(inputs, (-1, *_alternate(counts, steps), channels))
    taps = [
        slice(0, reach + 1, dilation)
        for reach, dilation in zip(reaches, dilation_rate, strict=True)
    ]
    cells = cells[(slice(None), *_alternate([slice(None)] * rank, taps))]
    cells = ops.transpose(
        cells,
        (0, *range(1, 2 * rank, 2), 2 * rank + 1, *range(2, 2 * rank + 1, 2)),
    )
    num_taps = math.prod(cells.shape[-rank:])
    return ops.reshape(cells, (-1, *counts, channels, num_taps))


def _resize(inputs: Tensor, sizes: Sequence[Tensor]) -> Tensor:
    """Cuts off, or appends zeros to, the end of each spatial axis."""
    missing = [
        _at_least_zero(size - _size(inputs, axis))
        for axis, size in enumerate(sizes, 1)
    ]
    inputs = ops.pad(
        inputs, [(0, 0), *((0, width) for width in missing), (0, 0)]
    )
    return inputs[(slice(None), *(slice(size) for size in sizes))]


def _alternate(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    return [item for pair in zip(first, second, strict=True) for item in pair]


def _slices(
    inputs: Tensor,
    reaches: Sequence[int],
    dilation_rate: Sequence[int],
    steps: Sequence[int],
) -> Tensor:
    """Takes a strided slice of the input for each tap.

    Counting the stop from the end makes every tap end at the last position
    of the convolution without knowing the size of the input.
    """
    per_axis = [
        [
            slice(offset, (offset - reach) or None, step)
            for offset in range(0, reach + 1, dilation)
        ]
        for reach, dilation, step in zip(
            reaches, dilation_rate, steps, strict=True
        )
    ]
    taps = [inputs[(slice(None), *tap)] for tap in itertools.product(*per_axis)]
    return ops.stack(taps, axis=-1)


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

"""Patches: what each position of a convolution sees of its input."""

import itertools
from collections.abc import Sequence

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

    One strided slice is taken per tap of the kernel. That copies each input
    value at most once if the sampling stride is not below the kernel size,
    where `keras.ops.image.extract_patches` multiplies with a one-hot kernel.

    Args:
        inputs: `(n, *spatial, C)`, or `(n, C, *spatial)` if channels come
            first. Spatial sizes may be unknown while a graph is traced.
        kernel_size: Taps along each spatial axis.
        strides: Strides of the convolution.
        dilation_rate: Dilation of the convolution.
        padding: `"valid"` or `"same"`, as in the convolution.
        sampling_stride: S, the distance between sampled output positions.
        data_format: Where the channels of `inputs` are.

    Returns:
        `(n, *sampled, C, taps)`, where each sampled size is the output size
        of the convolution divided by S, rounded up.
    """
    if data_format == "channels_first":
        inputs = ops.moveaxis(inputs, 1, -1)
    rank = len(kernel_size)
    strides = _per_axis(strides, rank)
    dilation_rate = _per_axis(dilation_rate, rank)
    if padding == "same":
        inputs = _pad_same(inputs, kernel_size, strides, dilation_rate)
    per_axis = [
        _tap_slices(size, stride * sampling_stride, dilation)
        for size, stride, dilation in zip(
            kernel_size, strides, dilation_rate, strict=True
        )
    ]
    taps = [inputs[(slice(None), *tap)] for tap in itertools.product(*per_axis)]
    return ops.stack(taps, axis=-1)


def _tap_slices(size: int, step: int, dilation: int) -> list[slice]:
    """Returns where each tap of one axis meets the (padded) input.

    Counting the stop from the end makes every tap end at the last position
    of the convolution without knowing the size of the input.
    """
    reach = (size - 1) * dilation
    return [
        slice(offset, (offset - reach) or None, step)
        for offset in range(0, reach + 1, dilation)
    ]


def _pad_same(
    inputs: Tensor,
    kernel_size: Sequence[int],
    strides: Sequence[int],
    dilation_rate: Sequence[int],
) -> Tensor:
    """Pads so that a valid convolution gives `ceil(size / stride)` outputs.

    An odd amount puts the extra zero at the end, as every backend does.
    """
    if max(kernel_size) == 1:
        return inputs
    pad_width = [(0, 0)]
    for axis, (kernel, stride, dilation) in enumerate(
        zip(kernel_size, strides, dilation_rate, strict=True), start=1
    ):
        reach = (kernel - 1) * dilation
        if stride == 1:
            total = reach
        elif inputs.shape[axis] is not None:
            total = max(reach - (inputs.shape[axis] - 1) % stride, 0)
        else:
            size = ops.shape(inputs)[axis]
            total = ops.maximum(reach - (size - 1) % stride, 0)
        pad_width.append((total // 2, total - total // 2))
    pad_width.append((0, 0))
    return ops.pad(inputs, pad_width)


def _per_axis(value: int | Sequence[int], rank: int) -> Sequence[int]:
    return (value,) * rank if isinstance(value, int) else value

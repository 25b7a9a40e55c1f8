"""Patches: what each position of a convolution sees of its input."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import Self
from typing import get_args

import numpy as np
from keras import ops

from keras_deconv._checks import check_choice
from keras_deconv._checks import check_count
from keras_deconv._engine import as_number
from keras_deconv._engine import average
from keras_deconv._engine import constant
from keras_deconv._engine import reshape
from keras_deconv._engine import slice_axis
from keras_deconv._engine import take_every
from keras_deconv._types import DataFormat
from keras_deconv._types import Padding
from keras_deconv._types import Tensor

# Of sampled positions, where no distance is given: the distance of the authors'
# code, how many are to be left along an axis, and how many with a longer one.
NEAREST, FEWEST, FEWEST_FAR = 3, 2, 4
# Numbers in the largest matrix of shares for all axes: those of 3 x 3 taps in
# 85 x 85 places.
_FEW = 2**16


def sampled_patches(
    inputs: Tensor,
    kernel_size: Sequence[int],
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
    inputs = _channels_last(inputs, data_format)
    rank = len(kernel_size)
    axes = _axes(
        inputs, kernel_size, strides, dilation_rate, padding, sampling_stride
    )
    if not any(axis.reach for axis in axes):
        inputs = take_every(inputs, [axis.step for axis in axes])
        return ops.expand_dims(inputs, -1)
    inputs = _frame(inputs, axes)
    for index, axis in enumerate(axes):
        # The axes before have become two each, of positions and of taps.
        inputs = _windows(inputs, 2 * index + 1, axis)
    positions, taps = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    inputs = ops.transpose(inputs, (0, *positions, 2 * rank + 1, *taps))
    counts = [_size(inputs, axis) for axis in range(1, rank + 1)]
    channels, num_taps = inputs.shape[rank + 1], math.prod(inputs.shape[-rank:])
    return reshape(inputs, (-1, *counts, channels, num_taps))


def default_stride(positions: int | None, kernel_size: int, stride: int) -> int:
    """Returns S along an axis for which none is given.

    That is 3, as in the authors' code, but no more than leaves two positions:
    every third one of a map of 4 x 4 is a corner, which sees padding in half
    of its taps. For a wider kernel it is as much as its patches take not to
    overlap, while four are left.

    Args:
        positions: How many outputs there are, or None if that is unknown,
            which gives 3.
        kernel_size: Taps.
        stride: Of the convolution.
    """
    apart = -(-kernel_size // stride)
    if positions is None:
        return NEAREST
    near = min(NEAREST, positions // FEWEST)
    return max(1, near, min(apart, positions // FEWEST_FAR))


def mean_patch(
    inputs: Tensor,
    kernel_size: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    dilation_rate: int | Sequence[int] = 1,
    padding: Padding = "valid",
    sampling_stride: int | Sequence[int] | None = 1,
    data_format: DataFormat = "channels_last",
) -> Tensor:
    """Returns the mean of `sampled_patches`, over samples and positions.

    It is linear in the inputs: the patches of the mean image have the same
    mean, and a tap is the mean of the places that it meets. That is a product
    with shares of one: of all axes at once in small images, else of each axis
    by itself.

    Args:
        inputs: As in `sampled_patches`.
        kernel_size: Taps along each spatial axis.
        strides: Strides of the convolution.
        dilation_rate: Dilation of the convolution.
        padding: `"valid"`, `"same"` or `"causal"`.
        sampling_stride: S.
        data_format: Where the channels of `inputs` are.

    Returns:
        `(C, taps)`.

    Raises:
        ValueError: As `sampled_patches`.
    """
    inputs = _channels_last(inputs, data_format)
    axes = _axes(
        inputs, kernel_size, strides, dilation_rate, padding, sampling_stride
    )
    channels = inputs.shape[-1]
    image = average(inputs, axis=0)
    meetings = [
        axis.meetings(_size(image, index)) for index, axis in enumerate(axes)
    ]
    if all(each.are_known for each in meetings) and _are_few(meetings):
        shares = constant(_shares_of_all, *meetings, like=image)
        return ops.transpose(reshape(image, (-1, channels))) @ shares
    # The first axis goes, and its taps come last.
    for each in meetings:
        image = each.shares(like=image) @ reshape(image, (each.size, -1))
        image = ops.transpose(image)
    return reshape(image, (channels, -1))


def _channels_last(inputs: Tensor, data_format: DataFormat) -> Tensor:
    check_choice("data_format", data_format, get_args(DataFormat))
    inputs = ops.convert_to_tensor(inputs)
    return (
        inputs
        if data_format == "channels_last"
        else ops.moveaxis(inputs, 1, -1)
    )


def _axes(
    inputs: Tensor,
    kernel_size: Sequence[int],
    strides: int | Sequence[int],
    dilation_rate: int | Sequence[int],
    padding: Padding,
    sampling_stride: int | Sequence[int] | None,
) -> list["_Axis"]:
    """Describes the spatial axes of inputs whose channels come last."""
    rank = len(kernel_size)
    return [
        _axis(_size(inputs, axis), padding, *geometry)
        for axis, geometry in enumerate(
            zip(
                kernel_size,
                _per_axis(strides, rank),
                _per_axis(dilation_rate, rank),
                _per_axis(sampling_stride, rank),
                strict=True,
            ),
            start=1,
        )
    ]


def _axis(size: Tensor, *geometry: Any) -> "_Axis":
    """Describes an axis; one of a known size once and for all."""
    make = _known_axis if isinstance(size, int) else _Axis.of
    return make(size, *geometry)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """Where the patches lie along one spatial axis.

    The axis is cut into cells of `step`, one for each position, in which
    what it sees begins. A strided slice for each tap would do as well, but
    its gradient is an array of the size of the input for each of them.

    Attributes:
        before: Zeros that the padding puts before the first position.
        reach: From the first tap to the last.
        dilation: From a tap to the next.
        step: From a sampled position to the next.
        count: Sampled positions; a tensor if the size is one.
    """

    before: Tensor
    reach: int
    dilation: int
    step: int
    count: Tensor

    @classmethod
    def of(
        cls,
        size: Tensor,
        padding: Padding,
        kernel_size: int,
        stride: int,
        dilation: int,
        sampling: int | None,
    ) -> Self:
        """Describes an axis of a size, which may be a tensor.

        Raises:
            ValueError: If the size, padding included, is below the kernel,
                or an argument is out of range.
        """
        check_choice("padding", padding, get_args(Padding))
        for name, number in (
            ("kernel_size", kernel_size),
            ("strides", stride),
            ("dilation_rate", dilation),
            ("sampling_stride", 1 if sampling is None else sampling),
        ):
            check_count(name, number)
        reach = (kernel_size - 1) * dilation
        before, total = _padding(size, padding, reach, stride)
        size = size + total
        if isinstance(size, int) and size <= reach:
            raise ValueError(
                "Inputs must not be smaller than the kernel, padding and "
                f"dilation included. Received: a size of {size}, a kernel "
                f"of {reach + 1}"
            )
        if sampling is None:
            is_known = isinstance(size, int)
            positions = (size - reach - 1) // stride + 1 if is_known else None
            sampling = default_stride(positions, kernel_size, stride)
        step = stride * sampling
        if isinstance(size, int):
            # One cell is all there is.
            step = min(step, size)
        return cls(
            before, reach, dilation, step, (size - reach - 1) // step + 1
        )

    @property
    def taps(self) -> dict[int, list[int]]:
        """Taps by the cell that they lie in, counted from the position's."""
        cells = itertools.groupby(
            range(0, self.reach + 1, self.dilation),
            lambda offset: offset // self.step,
        )
        return {
            cell: [offset % self.step for offset in group]
            for cell, group in cells
        }

    @property
    def num_cells(self) -> Tensor:
        return self.count + max(self.taps)

    @property
    def num_taps(self) -> int:
        return self.reach // self.dilation + 1

    def meetings(self, size: Tensor) -> "_Meetings":
        """Returns which tap meets which place of the axis."""
        return _Meetings(
            size,
            self.before,
            self.num_taps,
            self.dilation,
            self.step,
            self.count,
        )


_known_axis = functools.cache(_Axis.of)


class _Meetings(NamedTuple):
    """Which tap meets which place along an axis: what that depends on."""

    size: Tensor
    before: Tensor
    taps: int
    dilation: int
    step: int
    count: Tensor

    @property
    def are_known(self) -> bool:
        return all(isinstance(number, int) for number in self)

    def shares(self, like: Tensor) -> Tensor:
        """Returns the share of each place in the mean of each tap.

        Args:
            like: Has the dtype that is wanted.

        Returns:
            `(taps, size)`.
        """
        if self.are_known:
            return constant(_shares, self, like=like)
        met = ops.cast(_meet(self), like.dtype)
        return met / as_number(self.count, like=like)


def _meet(meetings: _Meetings) -> Any:
    """Returns whether a tap meets a place; an array if all are numbers."""
    size, before, taps, dilation, step, count = meetings
    arange: Any = np.arange if isinstance(size, int) else ops.arange
    # From the first position at the tap to the place.
    way = arange(size) + before - dilation * np.arange(taps)[:, None]
    return (way % step == 0) & (way >= 0) & (way < step * count)


def _shares(meetings: _Meetings) -> np.ndarray:
    return np.asarray(_meet(meetings) / meetings.count)


def _shares_of_all(*axes: _Meetings) -> np.ndarray:
    """Returns the shares of all axes together, `(places, taps)`."""
    return functools.reduce(np.kron, map(_shares, axes)).T


def _padding(
    size: Tensor, padding: Padding, reach: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Returns how many zeros go before an axis, and how many there are.

    With `"same"`, a valid convolution gives `ceil(size / stride)` outputs,
    and an odd zero goes to the end, as every backend has it.
    """
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach, reach
    total = reach
    if stride > 1:
        total = _at_least_zero(reach - (size - 1) % stride)
    return total // 2, total


def _frame(inputs: Tensor, axes: Sequence[_Axis]) -> Tensor:
    """Makes axes of whole cells: puts zeros around them, or cuts them off."""
    sizes = [axis.num_cells * axis.step for axis in axes]
    pad_width = [
        (axis.before, _at_least_zero(size - axis.before - known))
        for axis, size, known in zip(
            axes,
            sizes,
            (_size(inputs, index) for index in range(1, len(axes) + 1)),
            strict=True,
        )
    ]
    if not all(isinstance(n, int) and n == 0 for pad in pad_width for n in pad):
        inputs = ops.pad(inputs, [(0, 0), *pad_width, (0, 0)])
    for index, size in enumerate(sizes, start=1):
        inputs = slice_axis(inputs, index, 0, size)
    return inputs


def _windows(inputs: Tensor, index: int, axis: _Axis) -> Tensor:
    """Replaces an axis by two: positions, and the taps that each sees."""
    sizes = [_size(inputs, other) for other in range(1, len(inputs.shape))]
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


def _are_few(axes: Sequence[_Meetings]) -> bool:
    return bool(math.prod(axis.taps * axis.size for axis in axes) <= _FEW)


def _size(inputs: Tensor, axis: int) -> Tensor:
    """Returns the size of an axis: an int, or a tensor if it is unknown."""
    known = inputs.shape[axis]
    return ops.shape(inputs)[axis] if known is None else known


def _at_least_zero(value: Tensor) -> Tensor:
    return max(value, 0) if isinstance(value, int) else ops.maximum(value, 0)


def _per_axis(value: Any, rank: int) -> Sequence[Any]:
    is_one = value is None or isinstance(value, int)
    return (value,) * rank if is_one else value

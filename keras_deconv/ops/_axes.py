"""Where patches lie along the spatial axes of an input."""

import dataclasses
import functools
import itertools
import numbers
from collections.abc import Sequence
from typing import Any
from typing import Self
from typing import get_args

from keras import ops

from keras_deconv._checks import check_choice
from keras_deconv._checks import check_count
from keras_deconv._types import DataFormat
from keras_deconv._types import Padding
from keras_deconv._types import Tensor

# The sampling stride where none is given: that of the authors' code. A wider
# kernel gets a larger one, as long as so many positions are left on the axis.
DEFAULT_STRIDE, FEWEST_POSITIONS = 3, 4


def default_stride(positions: int | None, kernel_size: int, stride: int) -> int:
    """Returns S along an axis for which none is given.

    That is 3, as in the authors' code; for a wider kernel more, so that its
    patches do not overlap, unless fewer than four would be left.

    Args:
        positions: How many outputs there are, or None if that is unknown.
        kernel_size: Taps.
        stride: Of the convolution.
    """
    apart = -(-kernel_size // stride)
    most = (positions or 0) // FEWEST_POSITIONS
    return max(DEFAULT_STRIDE, min(apart, most))


@dataclasses.dataclass(frozen=True)
class Axis:
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
            ValueError: If the size, padding included, is below the kernel, or
                the padding is unknown.
        """
        check_choice("padding", padding, get_args(Padding))
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


def axes_of(
    inputs: Tensor,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int],
    dilation_rate: int | Sequence[int],
    padding: Padding,
    sampling_stride: int | Sequence[int] | None,
) -> list[Axis]:
    """Describes the spatial axes of inputs whose channels come last.

    Raises:
        ValueError: If an argument is out of range, or the inputs have no
            spatial axis.
    """
    rank = len(inputs.shape) - 2
    if rank < 1:
        raise ValueError(
            "Inputs must have samples, spatial axes, and channels. "
            f"Received: inputs of shape {tuple(inputs.shape)}"
        )
    geometries = zip(
        _per_axis("kernel_size", kernel_size, rank),
        _per_axis("strides", strides, rank),
        _per_axis("dilation_rate", dilation_rate, rank),
        _per_axis("sampling_stride", sampling_stride, rank),
        strict=True,
    )
    return [
        _axis(size_of(inputs, axis), padding, *geometry)
        for axis, geometry in enumerate(geometries, start=1)
    ]


def channels_last(inputs: Tensor, data_format: DataFormat) -> Tensor:
    check_choice("data_format", data_format, get_args(DataFormat))
    inputs = ops.convert_to_tensor(inputs)
    return (
        inputs
        if data_format == "channels_last"
        else ops.moveaxis(inputs, 1, -1)
    )


def size_of(inputs: Tensor, axis: int) -> Tensor:
    """Returns the size of an axis: an int, or a tensor if it is unknown."""
    known = inputs.shape[axis]
    return ops.shape(inputs)[axis] if known is None else known


def at_least_zero(value: Tensor) -> Tensor:
    return max(value, 0) if isinstance(value, int) else ops.maximum(value, 0)


def _axis(size: Tensor, *geometry: Any) -> Axis:
    """Describes an axis; one of a known size once and for all."""
    make = _known_axis if isinstance(size, int) else Axis.of
    return make(size, *geometry)


_known_axis = functools.cache(Axis.of)


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
        total = at_least_zero(reach - (size - 1) % stride)
    return total // 2, total


def _per_axis(name: str, value: Any, rank: int) -> Sequence[Any]:
    is_one = value is None or isinstance(value, numbers.Integral)
    values: Sequence[Any] = (value,) * rank if is_one else tuple(value)
    if len(values) != rank:
        raise ValueError(
            f"`{name}` must be one number, or one for each of {rank} spatial "
            f"axes. Received: {name}={value!r}"
        )
    # As plain ints: with a number of NumPy a size would be one too, and not
    # pass for a known one.
    is_sampling = name == "sampling_stride"
    return [
        None if each is None and is_sampling else check_count(name, each)
        for each in values
    ]

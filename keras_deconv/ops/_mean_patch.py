"""The mean of all patches, which takes no patches."""

import functools
import math
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import Self

import numpy as np
from keras import ops

from keras_deconv._engine import as_number
from keras_deconv._engine import average
from keras_deconv._engine import constant
from keras_deconv._engine import reshape
from keras_deconv._types import DataFormat
from keras_deconv._types import Padding
from keras_deconv._types import Tensor
from keras_deconv.ops._axes import Axis
from keras_deconv.ops._axes import axes_of
from keras_deconv.ops._axes import channels_last
from keras_deconv.ops._axes import size_of

# Numbers in the largest matrix of shares for all axes: those of 3 x 3 taps in
# 85 x 85 places.
_FEW = 2**16


def mean_patch(
    inputs: Tensor,
    kernel_size: int | Sequence[int],
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
    inputs = channels_last(inputs, data_format)
    axes = axes_of(
        inputs, kernel_size, strides, dilation_rate, padding, sampling_stride
    )
    channels = inputs.shape[-1]
    image = average(inputs, axis=0)
    meetings = [
        _Meetings.of(axis, size_of(image, index))
        for index, axis in enumerate(axes)
    ]
    if all(each.are_known for each in meetings) and _are_few(meetings):
        shares = constant(_shares_of_all, *meetings, like=image)
        return ops.transpose(reshape(image, (-1, channels))) @ shares
    # The first axis goes, and its taps come last.
    for each in meetings:
        image = each.shares(like=image) @ reshape(image, (each.size, -1))
        image = ops.transpose(image)
    return reshape(image, (channels, -1))


class _Meetings(NamedTuple):
    """Which tap meets which place along an axis: what that depends on."""

    size: Tensor
    before: Tensor
    taps: int
    dilation: int
    step: int
    count: Tensor

    @classmethod
    def of(cls, axis: Axis, size: Tensor) -> Self:
        return cls(
            size,
            axis.before,
            axis.num_taps,
            axis.dilation,
            axis.step,
            axis.count,
        )

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


def _are_few(axes: Sequence[_Meetings]) -> bool:
    return bool(math.prod(axis.taps * axis.size for axis in axes) <= _FEW)

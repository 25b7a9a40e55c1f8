"""Blocks: the groups of features that are whitened together."""

import dataclasses
from typing import get_args

from keras import ops

from keras_deconv._checks import check_choice
from keras_deconv._checks import check_count
from keras_deconv._checks import check_flag
from keras_deconv._engine import average
from keras_deconv._engine import mean_and_variance
from keras_deconv._engine import reshape
from keras_deconv._types import BlockLayout
from keras_deconv._types import Tensor


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How the features of a patch are dealt into blocks.

    A full covariance of all `C * taps` features costs too much, so features
    are split into blocks (network deconvolution, section 4.5.1). The blocks
    of a convolution group are pooled into one covariance and share one D,
    unless each is to have its own.

    Attributes:
        channels: C, of all convolution groups together.
        taps: Product of the kernel size; 1 for a dense layer.
        block_size: B, channels in a block. Divides `channels / groups`.
        groups: Convolution groups. None shares its D with another.
        layout: `"interleaved"` puts feature `f` of a group into block
            `f % count`, so that every block sees all channels at staggered
            taps, as the authors' convolutions do. `"contiguous"` gives each
            block B whole channels, as the paper's text and the authors'
            dense layers do.
        shared: Whether the blocks of a convolution group share one D.
            Interleaved blocks always do: that neighbouring taps have nearly
            the same statistics is what makes one D serve them.

    Raises:
        ValueError: If a number is out of range, the layout unknown, or
            interleaved blocks are not to share one D.
    """

    channels: int
    taps: int
    block_size: int
    groups: int = 1
    layout: BlockLayout = "interleaved"
    shared: bool = True

    def __post_init__(self) -> None:
        for name in ("channels", "taps", "block_size", "groups"):
            check_count(name, getattr(self, name))
        check_choice("layout", self.layout, get_args(BlockLayout))
        check_flag("shared", self.shared)
        if self.layout == "interleaved" and not self.shared:
            raise ValueError(
                "Blocks with a D each must be contiguous. "
                "Received: layout='interleaved', shared=False"
            )
        if self.channels % (self.groups * self.block_size):
            raise ValueError(
                "`groups` times `block_size` must divide `channels`. "
                f"Received: groups={self.groups}, "
                f"block_size={self.block_size}, channels={self.channels}"
            )

    @property
    def features(self) -> int:
        """F, the features of a block."""
        return self.block_size * self.taps

    @property
    def count(self) -> int:
        """Blocks in each convolution group."""
        return self.channels // (self.groups * self.block_size)

    @property
    def matrices(self) -> int:
        """How many D there are."""
        return self.groups if self.shared else self.groups * self.count


def split_columns(patches: Tensor, blocks: Blocks) -> Tensor:
    """Deals patches `(..., C, taps)` into columns `(matrices, rows, F)`."""
    if blocks.layout == "interleaved":
        shape = (-1, blocks.groups, blocks.features, blocks.count)
        axes = (1, 0, 3, 2)
    else:
        shape = (-1, blocks.groups, blocks.count, blocks.features)
        axes = (1, 0, 2, 3)
    if not blocks.shared:
        axes = (1, 2, 0, 3)
    columns = ops.transpose(reshape(patches, shape), axes)
    return reshape(columns, (blocks.matrices, -1, blocks.features))


def mean_of_blocks(patch: Tensor, blocks: Blocks) -> Tensor:
    """Returns the mean of the columns of a mean patch.

    Args:
        patch: `(C, taps)`.
        blocks: Blocks that share a D share a mean.

    Returns:
        `(matrices, F)`.
    """
    if blocks.count == 1 or not blocks.shared:
        return reshape(patch, (blocks.matrices, blocks.features))
    shape, axis = _dealt(blocks)
    return average(reshape(patch, shape), axis)


def variance_of_blocks(patch: Tensor, blocks: Blocks) -> Tensor:
    """Returns how far blocks that share a D differ, as a mean over features.

    Args:
        patch: `(C, taps)`, such as the mean of all patches.
        blocks: Blocks that share a D.

    Returns:
        `(matrices,)`.
    """
    shape, axis = _dealt(blocks)
    dealt = reshape(ops.convert_to_tensor(patch), shape)
    _, variance = mean_and_variance(dealt, axis)
    return average(variance, axis=1)


def spread_mean(mean: Tensor, blocks: Blocks) -> Tensor:
    """Returns the mean of each weight's input, in the order of kernels.

    Args:
        mean: `(matrices, F)`.
        blocks: Blocks that share a D share a mean.

    Returns:
        `(groups, taps * C / groups)`.
    """
    if blocks.count > 1 and blocks.shared:
        shape, axis = _dealt(blocks)
        mean = ops.broadcast_to(ops.expand_dims(mean, axis), shape)
    if blocks.taps > 1:
        patch = reshape(mean, (blocks.groups, -1, blocks.taps))
        mean = ops.transpose(patch, (0, 2, 1))
    return reshape(mean, (blocks.groups, -1))


def _dealt(blocks: Blocks) -> tuple[tuple[int, ...], int]:
    """Returns the shape of all features by block, and the axis of blocks.

    For groups whose blocks share a D; the first axis is that of groups.
    """
    groups, count, features = blocks.groups, blocks.count, blocks.features
    if blocks.layout == "interleaved":
        return (groups, features, count), 2
    return (groups, count, features), 1


def merge_columns(columns: Tensor, blocks: Blocks) -> Tensor:
    """Puts columns `(matrices, rows, F)` back into patches `(p, C, taps)`.

    The inverse of `split_columns`, with all leading axes of the patches
    flattened into one.
    """
    if blocks.shared:
        shape = (blocks.groups, -1, blocks.count, blocks.features)
        axes = (1, 0, 3, 2) if blocks.layout == "interleaved" else (1, 0, 2, 3)
    else:
        shape = (blocks.groups, blocks.count, -1, blocks.features)
        axes = (2, 0, 1, 3)
    patches = ops.transpose(reshape(columns, shape), axes)
    return reshape(patches, (-1, blocks.channels, blocks.taps))


def split_kernel(kernel: Tensor, blocks: Blocks) -> Tensor:
    """Deals a kernel's inputs into blocks.

    Args:
        kernel: `(*kernel_size, C / groups, O)`, as Keras stores it.
        blocks: The blocks of the layer.

    Returns:
        `(matrices, F, filters)`, so that one product with D
        `(matrices, F, F)` reaches every block. Filters are O / groups, times
        the blocks that share a D.
    """
    per_group = blocks.channels // blocks.groups
    kernel = ops.convert_to_tensor(kernel)
    kernel = reshape(kernel, (blocks.taps, per_group, blocks.groups, -1))
    kernel = ops.transpose(kernel, (2, 1, 0, 3))
    if blocks.layout == "contiguous" and blocks.shared:
        shape = (blocks.groups, blocks.count, blocks.features, -1)
        kernel = ops.transpose(reshape(kernel, shape), (0, 2, 1, 3))
    return reshape(kernel, (blocks.matrices, blocks.features, -1))


def merge_kernel(
    kernel: Tensor, blocks: Blocks, shape: tuple[int, ...]
) -> Tensor:
    """Puts a kernel in blocks back into Keras's order: undoes `split_kernel`.

    Args:
        kernel: `(matrices, F, filters)`.
        blocks: The blocks of the layer.
        shape: Shape of the kernel, `(*kernel_size, C / groups, O)`.
    """
    per_group = blocks.channels // blocks.groups
    if blocks.layout == "contiguous" and blocks.shared:
        split = (blocks.groups, blocks.features, blocks.count, -1)
        kernel = ops.transpose(reshape(kernel, split), (0, 2, 1, 3))
    kernel = reshape(kernel, (blocks.groups, per_group, blocks.taps, -1))
    return reshape(ops.transpose(kernel, (2, 1, 0, 3)), shape)

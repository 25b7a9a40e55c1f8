"""Blocks: the groups of features that are whitened together."""

import dataclasses
from typing import TypeAlias

from keras import ops

from keras_deconv._types import BlockLayout
from keras_deconv._types import Tensor

# A shape, and the order in which its axes are then put.
_Step: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]


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
            dense layers do. `"strided"` puts channel `c`, whole, into block
            `c % count`, which costs no copy of a kernel.
        shared: Whether the blocks of a convolution group share one D.
            Interleaved blocks always do: that neighbouring taps have nearly
            the same statistics is what makes one D serve them.
    """

    channels: int
    taps: int
    block_size: int
    groups: int = 1
    layout: BlockLayout = "interleaved"
    shared: bool = True

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
    shape, axes = _deal_columns(blocks)
    columns = ops.transpose(ops.reshape(patches, shape), axes)
    return ops.reshape(columns, (blocks.matrices, -1, blocks.features))


def merge_columns(columns: Tensor, blocks: Blocks) -> Tensor:
    """Puts columns `(matrices, rows, F)` back into patches `(p, C, taps)`.

    The inverse of `split_columns`, with all leading axes of the patches
    flattened into one.
    """
    patches = _undo(columns, *_deal_columns(blocks))
    return ops.reshape(patches, (-1, blocks.channels, blocks.taps))


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
    for shape, axes in _deal_kernel(blocks):
        kernel = ops.transpose(ops.reshape(kernel, shape), axes)
    return ops.reshape(kernel, (blocks.matrices, blocks.features, -1))


def merge_kernel(
    kernel: Tensor, blocks: Blocks, shape: tuple[int, ...]
) -> Tensor:
    """Puts a kernel in blocks back into Keras's order: undoes `split_kernel`.

    Args:
        kernel: `(matrices, F, filters)`.
        blocks: The blocks of the layer.
        shape: Shape of the kernel, `(*kernel_size, C / groups, O)`.
    """
    for step in reversed(_deal_kernel(blocks)):
        kernel = _undo(kernel, *step)
    return ops.reshape(kernel, shape)


def _deal_columns(blocks: Blocks) -> _Step:
    """Returns the shape of patches, and its axes in the order of columns."""
    groups, size, count = blocks.groups, blocks.block_size, blocks.count
    shape: tuple[int, ...]
    features: tuple[int, ...]
    if blocks.layout == "interleaved":
        shape, block, features = (-1, groups, blocks.features, count), 3, (2,)
    elif blocks.layout == "strided":
        shape = (-1, groups, size, count, blocks.taps)
        block, features = 3, (4, 2)
    else:
        shape, block, features = (-1, groups, count, blocks.features), 2, (3,)
    rows = (0, block) if blocks.shared else (block, 0)
    return shape, (1, *rows, *features)


def _deal_kernel(blocks: Blocks) -> list[_Step]:
    """Returns shapes of a kernel, each with the order its axes are put in."""
    groups, size, count = blocks.groups, blocks.block_size, blocks.count
    if blocks.layout == "strided":
        # With one D for all of them, the order a kernel has.
        order = (3, 0, 1, 2, 4) if blocks.shared else (3, 2, 0, 1, 4)
        return [((blocks.taps, size, count, groups, -1), order)]
    steps: list[_Step] = [
        ((blocks.taps, size * count, groups, -1), (2, 1, 0, 3))
    ]
    if blocks.layout == "contiguous" and blocks.shared:
        steps.append(((groups, count, blocks.features, -1), (0, 2, 1, 3)))
    return steps


def _undo(
    values: Tensor, shape: tuple[int, ...], axes: tuple[int, ...]
) -> Tensor:
    """Undoes a reshape to `shape`, followed by a transposition to `axes`."""
    values = ops.reshape(values, [shape[axis] for axis in axes])
    return ops.transpose(values, sorted(range(len(axes)), key=axes.__getitem__))

"""Blocks: the groups of features that are whitened together."""

import dataclasses

from keras import ops

from keras_deconv._types import BlockLayout
from keras_deconv._types import Tensor


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How the features of a patch are dealt into blocks.

    A full covariance of all `C * taps` features costs too much, so features
    are split into blocks (network deconvolution, section 4.5.1). The blocks
    of a convolution group are pooled into one covariance and share one D.

    Attributes:
        channels: C, of all convolution groups together.
        taps: Product of the kernel size; 1 for a dense layer.
        block_size: B, channels in a block. Divides `channels / groups`.
        groups: Convolution groups. Each has a D of its own.
        layout: `"interleaved"` puts feature `f` of a group into block
            `f % count`, so that every block sees all channels at staggered
            taps, as the authors' convolutions do. `"contiguous"` gives each
            block B whole channels, as the paper's text and the authors'
            dense layers do.
    """

    channels: int
    taps: int
    block_size: int
    groups: int = 1
    layout: BlockLayout = "interleaved"

    @property
    def features(self) -> int:
        """F, the features of a block."""
        return self.block_size * self.taps

    @property
    def count(self) -> int:
        """Blocks in each convolution group."""
        return self.channels // (self.groups * self.block_size)


def split_columns(patches: Tensor, blocks: Blocks) -> Tensor:
    """Deals patches `(..., C, taps)` into columns `(groups, rows, F)`."""
    if blocks.layout == "interleaved":
        shape = (-1, blocks.groups, blocks.features, blocks.count)
        axes = (1, 0, 3, 2)
    else:
        shape = (-1, blocks.groups, blocks.count, blocks.features)
        axes = (1, 0, 2, 3)
    columns = ops.transpose(ops.reshape(patches, shape), axes)
    return ops.reshape(columns, (blocks.groups, -1, blocks.features))


def merge_columns(columns: Tensor, blocks: Blocks) -> Tensor:
    """Puts columns `(groups, rows, F)` back into patches `(p, C, taps)`.

    The inverse of `split_columns`, with all leading axes of the patches
    flattened into one.
    """
    shape = (blocks.groups, -1, blocks.count, blocks.features)
    axes = (1, 0, 3, 2) if blocks.layout == "interleaved" else (1, 0, 2, 3)
    patches = ops.transpose(ops.reshape(columns, shape), axes)
    return ops.reshape(patches, (-1, blocks.channels, blocks.taps))


def split_kernel(kernel: Tensor, blocks: Blocks) -> Tensor:
    """Deals a kernel's inputs into blocks.

    Args:
        kernel: `(*kernel_size, C / groups, O)`, as Keras stores it.
        blocks: The blocks of the layer.

    Returns:
        `(groups, F, count * O / groups)`, so that one product with D
        `(groups, F, F)` reaches every block.
    """
    per_group = blocks.channels // blocks.groups
    kernel = ops.reshape(kernel, (blocks.taps, per_group, blocks.groups, -1))
    kernel = ops.transpose(kernel, (2, 1, 0, 3))
    if blocks.layout == "contiguous":
        shape = (blocks.groups, blocks.count, blocks.features, -1)
        kernel = ops.transpose(ops.reshape(kernel, shape), (0, 2, 1, 3))
    filters = kernel.shape[-1] * blocks.count
    return ops.reshape(kernel, (blocks.groups, blocks.features, filters))


def merge_kernel(
    kernel: Tensor, blocks: Blocks, shape: tuple[int, ...]
) -> Tensor:
    """Puts a kernel in blocks back into Keras's order: undoes `split_kernel`.

    Args:
        kernel: `(groups, F, count * O / groups)`.
        blocks: The blocks of the layer.
        shape: Shape of the kernel, `(*kernel_size, C / groups, O)`.
    """
    per_group = blocks.channels // blocks.groups
    if blocks.layout == "contiguous":
        split = (blocks.groups, blocks.features, blocks.count, -1)
        kernel = ops.transpose(ops.reshape(kernel, split), (0, 2, 1, 3))
    kernel = ops.reshape(kernel, (blocks.groups, per_group, blocks.taps, -1))
    return ops.reshape(ops.transpose(kernel, (2, 1, 0, 3)), shape)

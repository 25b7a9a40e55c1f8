"""Implicit deconvolution: whitening moved from the input into the kernel."""

from keras import ops

from keras_deconv._types import Tensor
from keras_deconv.ops._blocks import Blocks
from keras_deconv.ops._blocks import merge_kernel
from keras_deconv.ops._blocks import split_kernel
from keras_deconv.ops._product import product


def fold(
    kernel: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    deconv: Tensor,
    blocks: Blocks,
) -> tuple[Tensor, Tensor]:
    """Folds mean and D into a kernel and a bias.

    Network deconvolution, equation 4: whitening the patches and then
    multiplying with the kernel is one multiplication,

        (x - mean) D w + b  =  x (D w) + (b - mean D w).

    Args:
        kernel: w, `(*kernel_size, C / groups, O)`.
        bias: b, `(O,)`, or None for zeros.
        mean: `(matrices, F)`.
        deconv: D, `(matrices, F, F)`.
        blocks: The blocks of the layer.

    Returns:
        `D w` in the shape of `kernel`, and `b - mean D w`, `(O,)`.
    """
    folded = product(deconv, split_kernel(kernel, blocks))
    shift = product(ops.expand_dims(mean, 1), folded)
    shift = ops.sum(ops.reshape(shift, (blocks.groups, blocks.count, -1)), 1)
    shift = ops.reshape(shift, (-1,))
    bias = -shift if bias is None else ops.subtract(bias, shift)
    return merge_kernel(folded, blocks, tuple(kernel.shape)), bias

"""Implicit deconvolution: whitening moved from the input into the kernel."""

import keras
from keras import ops

from keras_deconv._engine import gradients_are_in_order
from keras_deconv._engine import reshape
from keras_deconv._types import Tensor
from keras_deconv.ops._blocks import Blocks
from keras_deconv.ops._blocks import merge_kernel
from keras_deconv.ops._blocks import split_kernel
from keras_deconv.ops._blocks import spread_mean
from keras_deconv.ops._product import product


def fold(
    kernel: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    deconv: Tensor,
    blocks: Blocks,
    dtype: str | None = None,
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
        dtype: In which `D w` meets the inputs, if that is a lower one. Then
            `mean D w` is that of the rounded `D w`: of another one, each
            filter would be off by a constant.

    Returns:
        `D w` in the shape of `kernel`, not rounded, and `b - mean D w`,
        `(O,)`.
    """
    kernel, deconv = map(ops.convert_to_tensor, (kernel, deconv))
    folded = product(deconv, split_kernel(kernel, blocks))
    return merge_folded(folded, bias, mean, blocks, tuple(kernel.shape), dtype)


def merge_folded(
    folded: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    blocks: Blocks,
    shape: tuple[int, ...],
    dtype: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns what `fold` does, of a kernel that D is folded into.

    Args:
        folded: `D w` in blocks, `(matrices, F, filters)`.
        bias: b, `(O,)`, or None for zeros.
        mean: `(matrices, F)`.
        blocks: The blocks of the layer.
        shape: Shape of the kernel, `(*kernel_size, C / groups, O)`.
        dtype: As in `fold`.
    """
    kernel = merge_kernel(folded, blocks, shape)
    # The gradient keeps the kernel in any case, the one in blocks it need not.
    shift = (
        _shift_in_order(mean, _rounded(kernel, dtype), blocks)
        if gradients_are_in_order()
        else _shift(mean, _rounded(folded, dtype), blocks)
    )
    return kernel, -shift if bias is None else ops.subtract(bias, shift)


def unfold(
    kernel: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    deconv: Tensor,
    blocks: Blocks,
    dtype: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the kernel and bias that `fold` makes these of: its inverse.

    Solves `D w = kernel`. That loses no digits to speak of, however badly
    conditioned the covariance: n steps of Newton-Schulz amplify no direction
    more than `1.5 ** n` times, which bounds the condition of D.

    Args:
        kernel: `(*kernel_size, C / groups, O)`.
        bias: `(O,)`, or None for zeros.
        mean: `(matrices, F)`.
        deconv: D, `(matrices, F, F)`.
        blocks: The blocks of the layer.
        dtype: As in `fold`.

    Returns:
        `D ** -1 kernel` in the shape of `kernel`, and `bias + mean kernel`,
        `(O,)`.
    """
    plain = split_kernel(kernel, blocks)
    shift = _shift(mean, _rounded(plain, dtype), blocks)
    bias = shift if bias is None else ops.add(bias, shift)
    unfolded = ops.solve(deconv, plain)
    return merge_kernel(unfolded, blocks, tuple(kernel.shape)), bias


def _rounded(kernel: Tensor, dtype: str | None) -> Tensor:
    """Returns a kernel with the values that it has in a dtype.

    The gradient is that of the kernel itself.
    """
    own = keras.backend.standardize_dtype(kernel.dtype)
    if dtype in (None, own):
        return kernel
    constant = ops.stop_gradient(kernel)
    rounded = ops.cast(ops.cast(constant, dtype), own)
    return kernel + (rounded - constant)


def _shift(mean: Tensor, kernel: Tensor, blocks: Blocks) -> Tensor:
    """Returns what the mean adds to each output, `(O,)`.

    Args:
        mean: `(matrices, F)`.
        kernel: In blocks, `(matrices, F, filters)`.
        blocks: The blocks of the layer.
    """
    shift = product(ops.expand_dims(mean, 1), kernel)
    if blocks.count > 1:
        shift = reshape(shift, (blocks.groups, blocks.count, -1))
        shift = ops.sum(shift, axis=1)
    return reshape(shift, (-1,))


def _shift_in_order(mean: Tensor, kernel: Tensor, blocks: Blocks) -> Tensor:
    """Returns the same of a kernel `(*kernel_size, C / groups, O)`."""
    inputs = spread_mean(mean, blocks)
    if blocks.groups == 1:
        # For one row, TensorFlow's batched product takes half as long again.
        return reshape(
            product(inputs, reshape(kernel, (inputs.shape[1], -1))), (-1,)
        )
    kernel = reshape(kernel, (inputs.shape[1], blocks.groups, -1))
    kernel = ops.transpose(kernel, (1, 0, 2))
    return reshape(product(ops.expand_dims(inputs, 1), kernel), (-1,))

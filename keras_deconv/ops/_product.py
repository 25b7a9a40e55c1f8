"""The matrix product, in the precision of its factors."""

from keras import ops

from keras_deconv._types import Tensor


def product(x: Tensor, y: Tensor) -> Tensor:
    """Returns `x @ y`, over the last two axes of each.

    `keras.ops.matmul` computes float64 in float32 on PyTorch; `einsum` does
    not, but costs more on TensorFlow.
    """
    if ops.dtype(x) == "float64":
        return ops.einsum("...ij,...jk->...ik", x, y)
    return ops.matmul(x, y)

"""The matrix product, in the precision of its factors."""

from keras import ops

from keras_deconv._engine import multiply
from keras_deconv._engine import reshape
from keras_deconv._types import Tensor


def product(x: Tensor, y: Tensor) -> Tensor:
    """Returns `x @ y` of tensors, over the last two axes of each.

    `keras.ops.matmul` computes float64 in float32 on PyTorch, where it also
    takes ten times as long to begin.
    """
    return multiply(x, y)


def product_of_rows(x: Tensor, y: Tensor) -> Tensor:
    """Returns `x @ y` of `(..., C)` and `(C, O)`, as one product of matrices.

    TensorFlow's own product of four axes and two, one of them of size 1,
    writes past its end on some CPUs: oneDNN does.
    """
    if len(x.shape) == 2:
        return product(x, y)
    rows = product(reshape(x, (-1, y.shape[0])), y)
    return reshape(rows, (*ops.shape(x)[:-1], y.shape[1]))

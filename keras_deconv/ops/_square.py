"""The check of what a root is taken of."""

import keras
from keras import ops

from keras_deconv._types import Tensor


def check_matrix(matrix: Tensor) -> Tensor:
    """Returns a tensor. Raises ValueError unless it is a root's argument.

    That is `(..., F, F)`, of floating-point numbers.
    """
    matrix = ops.convert_to_tensor(matrix)
    shape = tuple(matrix.shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(
            "The matrices must be square: (..., F, F). "
            f"Received: matrix of shape {shape}"
        )
    dtype = keras.backend.standardize_dtype(matrix.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            "The matrices must hold floating-point numbers. "
            f"Received: matrix of dtype {dtype}"
        )
    return matrix

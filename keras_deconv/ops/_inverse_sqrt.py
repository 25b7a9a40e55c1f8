"""Inverse square root of a covariance, by any of several methods."""

from typing import Protocol

import keras
from keras import ops

from keras_deconv._checks import check_count
from keras_deconv._types import RootMethod
from keras_deconv._types import Tensor
from keras_deconv.ops._eigh import eigh
from keras_deconv.ops._minimax import minimax
from keras_deconv.ops._newton_schulz import newton_schulz


class Method(Protocol):
    """A way to compute the inverse square root.

    `(..., F, F)` to `(..., F, F)`. A matrix that holds a NaN or an infinity
    gives a result that is not finite, and never an error: the layers test
    the result.
    """

    def __call__(self, matrix: Tensor, num_iterations: int) -> Tensor:
        """Returns `matrix ** -1/2`, or what stands for it."""


METHODS: dict[RootMethod, Method] = {
    "newton_schulz": newton_schulz,
    "minimax": minimax,
    "eigh": eigh,
}


def inverse_sqrt(
    matrix: Tensor,
    num_iterations: int = 5,
    method: RootMethod = "newton_schulz",
) -> Tensor:
    """Computes or approximates `matrix ** -1/2`.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite. Any scale does:
            `s * matrix` gives the result over `s ** 1/2`.
        num_iterations: Newton-Schulz steps, at least 1. Fewer leave
            directions of little variance more as they are.
        method: What computes it.

            - `"newton_schulz"`: coupled Newton-Schulz iteration, as in the
              paper, in `3 * num_iterations - 3` products.
            - `"minimax"`: about what five Newton-Schulz steps reach, in
              five products. `num_iterations` must be 5.
            - `"eigh"`: exact, by eigenvalues. Ignores `num_iterations`.

    Returns:
        `(..., F, F)`, symmetric up to rounding.

    Raises:
        ValueError: If a matrix is not square, or not of floating-point
            numbers, `num_iterations` is no number of steps, `method` is
            unknown, or does not serve them.
    """
    if method not in METHODS:
        raise ValueError(
            f"`method` must be one of {tuple(METHODS)}. "
            f"Received: method={method!r}"
        )
    check_count("num_iterations", num_iterations)
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
    return METHODS[method](matrix, num_iterations)

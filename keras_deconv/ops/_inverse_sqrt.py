"""Inverse square root of a covariance, by any of several methods."""

from typing import Protocol
from typing import get_args

from keras_deconv._checks import check_choice
from keras_deconv._checks import check_count
from keras_deconv._types import RootMethod
from keras_deconv._types import Tensor
from keras_deconv.ops._eigh import eigh
from keras_deconv.ops._minimax import minimax
from keras_deconv.ops._newton_schulz import newton_schulz
from keras_deconv.ops._square import check_matrix


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
            numbers, `num_iterations` is below 1, or not 5 with `"minimax"`,
            or `method` is unknown.
    """
    check_choice("method", method, get_args(RootMethod))
    check_count("num_iterations", num_iterations)
    return METHODS[method](check_matrix(matrix), num_iterations)

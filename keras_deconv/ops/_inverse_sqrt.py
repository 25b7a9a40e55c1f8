"""Inverse square root of a covariance, by Newton-Schulz iteration."""

from keras import ops

from keras_deconv._types import Tensor


def inverse_sqrt(matrix: Tensor, num_iterations: int) -> Tensor:
    """Approximates `matrix ** -1/2` by coupled Newton-Schulz iteration.

    With `A / |A|_F` as the start of Y and the identity as that of Z,

        T = (3 I - Z Y) / 2,    Y <- Y T,    Z <- T Z

    takes Y to the square root and Z to the inverse square root of
    `A / |A|_F` (network deconvolution, section 3.3 and appendix A.3).

    Few iterations are a regulariser, not a shortcut: one step amplifies a
    direction at most 1.5 times, so five leave directions of little variance
    (mostly noise) partly as they are. More steps change the method.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite.
        num_iterations: Steps, at least 1. Costs `3 * num_iterations - 3`
            products: the first step multiplies with no identity, the last
            computes no Y.

    Returns:
        `(..., F, F)`, symmetric up to rounding.
    """
    norm, _, z, _ = _iterate(matrix, num_iterations)
    return z / ops.sqrt(norm)


def sqrt_pair(matrix: Tensor, num_iterations: int) -> tuple[Tensor, Tensor]:
    """Returns the square root and the inverse square root together.

    Both come from the iteration of `inverse_sqrt`, for one more product.
    After few steps either is an approximation, of the same matrix: their
    product tends to the identity only as the steps converge.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite.
        num_iterations: Steps, at least 1.

    Returns:
        `matrix ** 1/2` and `matrix ** -1/2`, each `(..., F, F)`.
    """
    norm, y, z, t = _iterate(matrix, num_iterations)
    return ops.matmul(y, t) * ops.sqrt(norm), z / ops.sqrt(norm)


def _iterate(
    matrix: Tensor, num_iterations: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the norm, Y before the last step, Z after it, and its T."""
    matrix = ops.convert_to_tensor(matrix)
    norm = ops.sqrt(ops.sum(ops.square(matrix), axis=(-2, -1), keepdims=True))
    three_halves = 1.5 * ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    y = matrix / norm
    z = t = three_halves - 0.5 * y
    for _ in range(num_iterations - 1):
        y = ops.matmul(y, t)
        t = three_halves - 0.5 * ops.matmul(z, y)
        z = ops.matmul(t, z)
    return norm, y, z, t

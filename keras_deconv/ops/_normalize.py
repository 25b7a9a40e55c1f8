"""Roots of matrices of any scale."""

import math

from keras import ops

from keras_deconv._engine import Rule
from keras_deconv._engine import norm_of_matrix
from keras_deconv._types import Tensor


def symmetrized(matrix: Tensor) -> Tensor:
    """Returns a symmetric matrix, whose gradient is symmetric too."""
    matrix = ops.convert_to_tensor(matrix)
    return 0.5 * (matrix + ops.swapaxes(matrix, -2, -1))


def normalize(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Divides a matrix by its Frobenius norm.

    Args:
        matrix: `(..., F, F)`. One that holds a NaN or an infinity comes out
            as NaN in both results, and so does one of zeros.

    Returns:
        `A / |A|_F`, `(..., F, F)`, and `|A|_F ** 1/2`, `(..., 1, 1)`.
    """
    matrix = ops.convert_to_tensor(matrix)
    # In float32 the squares in the norm overflow from entries of 1e19 on,
    # and vanish below 1e-19. Neither result depends on the scale that is
    # taken out first, so the scale has no gradient: stopping it is exact.
    scale = norm_of_matrix(ops.stop_gradient(matrix), math.inf)
    matrix = matrix / scale
    norm = norm_of_matrix(matrix, 2)
    return matrix / norm, ops.sqrt(norm) * ops.sqrt(scale)


def of_any_scale(root: Rule) -> Rule:
    """Returns the rule of `f(A / |A|_F) / |A|_F ** 1/2`, given that of f.

    With S the matrix over its norm, and H what `root` makes of the gradient G
    of the result, the gradient of A is

        (H - (<S, H> + <f(S), G> / 2) S) / |A|_F ** 3/2.

    Both G and H are the symmetric part of a gradient: A has no other changes.
    """

    def forward(matrix: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        start, scale = normalize(matrix)
        result, kept = root.forward(start)
        return result / scale, (start, scale, result, *kept)

    def backward(kept: tuple[Tensor, ...], upstream: Tensor) -> Tensor:
        start, scale, result = kept[:3]
        upstream = symmetrized(upstream)
        change = root.backward(kept[3:], upstream)
        along = start * change + 0.5 * result * upstream
        along = ops.sum(along, axis=(-2, -1), keepdims=True)
        # One by one: the third power of the scale may be too large.
        return (change - along * start) / scale / scale / scale

    return Rule(forward, backward)

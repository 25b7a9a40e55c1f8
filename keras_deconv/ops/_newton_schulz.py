"""Inverse square root by coupled Newton-Schulz iteration."""

import functools
from typing import TypeAlias

from keras import ops

from keras_deconv._engine import add_product
from keras_deconv._engine import eye
from keras_deconv._engine import has_fast_eigh
from keras_deconv._types import Tensor
from keras_deconv.ops._product import product
from keras_deconv.ops._spectral import spectral

# Where eigenvalues take less time than the products, and lose no digits: what
# many steps amplify most is their rounding.
_FEWEST, _MOST = 4, 8

# A function of the eigenvalues, `(..., F)`, and its divided differences,
# `(..., F, F)`.
_Pair: TypeAlias = tuple[Tensor, Tensor]


def newton_schulz(matrix: Tensor, num_iterations: int) -> Tensor:
    """Approximates `matrix ** -1/2` by coupled Newton-Schulz iteration.

    With `A / |A|_F` as the start of Y and the identity as that of Z,

        T = (3 I - Z Y) / 2,    Y <- Y T,    Z <- T Z

    takes Y to the square root and Z to the inverse square root of
    `A / |A|_F` (network deconvolution, section 3.3 and appendix A.3).

    Few iterations are a regulariser, not a shortcut: one step amplifies a
    direction at most 1.5 times, so five leave directions of little variance
    (mostly noise) partly as they are. More steps change the method.

    All of these commute, so the result is a function of the eigenvalues of
    the matrix. Where a decomposition is cheap, it is computed from them: the
    same values and gradients, up to rounding, in a third of the time.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite.
        num_iterations: Steps, at least 1. Costs `3 * num_iterations - 3`
            products: the first step multiplies with no identity, the last
            computes no Y.

    Returns:
        `(..., F, F)`, symmetric up to rounding.
    """
    start, root = normalize(matrix)
    if _FEWEST <= num_iterations <= _MOST and has_fast_eigh(start):
        steps = functools.partial(_on_eigenvalues, num_iterations)
        return spectral(start, steps) / root
    _, z, _ = iterate(start, num_iterations)
    return z / root


def sqrt_pair(matrix: Tensor, num_iterations: int) -> tuple[Tensor, Tensor]:
    """Returns the square root and the inverse square root together.

    Both come from one Newton-Schulz iteration, for one product more than
    the inverse square root alone. After few steps either is an
    approximation, of the same matrix: their product tends to the identity
    only as the steps converge.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite.
        num_iterations: Steps, at least 1.

    Returns:
        `matrix ** 1/2` and `matrix ** -1/2`, each `(..., F, F)`.
    """
    start, root = normalize(matrix)
    y, z, t = iterate(start, num_iterations)
    return product(y, t) * (-2 * root), z / root


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
    largest = ops.abs(ops.stop_gradient(matrix))
    scale = ops.max(largest, axis=(-2, -1), keepdims=True)
    matrix = matrix / scale
    norm = ops.sqrt(ops.sum(ops.square(matrix), axis=(-2, -1), keepdims=True))
    return matrix / norm, ops.sqrt(norm) * ops.sqrt(scale)


def iterate(y: Tensor, num_iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Iterates on a matrix that `normalize` returns.

    Args:
        y: `(..., F, F)`.
        num_iterations: Steps, at least 1.

    Returns:
        Y before the last step, Z after it, and the T of that step. Y is
        -1/2 of what it is called above, all along: that rounds nothing, and
        leaves T a sum.
    """
    three_halves = 1.5 * eye(ops.shape(y)[-1], like=y)
    # Of one shape, for TensorFlow adds up the gradient of what is broadcast.
    three_halves = ops.broadcast_to(three_halves, ops.shape(y))
    y = y * -0.5
    z = t = three_halves + y
    for _ in range(num_iterations - 1):
        y = product(y, t)
        t = add_product(three_halves, z, y)
        z = product(t, z)
    return y, z, t


def _on_eigenvalues(num_iterations: int, values: Tensor) -> _Pair:
    """Iterates on eigenvalues, for the Z of each and of each pair."""
    y = values, ops.ones_like(values[..., None] - values[..., None, :])
    z = t = _correction(y)
    for _ in range(num_iterations - 1):
        y = _times(y, t)
        t = _correction(_times(z, y))
        z = _times(t, z)
    return z


def _correction(f: _Pair) -> _Pair:
    return 1.5 - 0.5 * f[0], -0.5 * f[1]


def _times(f: _Pair, g: _Pair) -> _Pair:
    """Returns the product, by a rule that divides by no difference.

    The divided differences of `f g` are `f[a, b] g(b) + f(a) g[a, b]`.
    """
    left = f[1] * ops.expand_dims(g[0], -2)
    right = ops.expand_dims(f[0], -1) * g[1]
    return f[0] * g[0], left + right

"""Functions of symmetric matrices by their eigenvalues."""

from collections.abc import Callable
from typing import TypeAlias

from keras import ops

from keras_deconv._engine import Rule
from keras_deconv._engine import full_precision
from keras_deconv._types import Tensor
from keras_deconv.ops._product import product

# A function of the eigenvalues, `(..., F)`, and its divided differences,
# `(..., F, F)`.
_Pair: TypeAlias = tuple[Tensor, Tensor]


def spectral(function: Callable[[Tensor], _Pair]) -> Rule:
    """Returns the rule of a function of the eigenvalues of a matrix.

    With `A = U diag(l) U^T`, f(A) is `U diag(f(l)) U^T`. Its derivative in a
    direction E (Higham, Functions of Matrices, theorem 3.11) is

        U [K o (U^T E U)] U^T,    K_ij = (f(l_i) - f(l_j)) / (l_i - l_j).

    The gradient is that: the gradient of a decomposition itself would divide
    by differences of eigenvalues, and not be finite for repeated ones. (The
    gradient of this gradient does divide by them.)

    The matrix is `(..., F, F)`, symmetric; one that holds a NaN or an infinity
    is taken for the identity. The result is symmetric up to rounding.

    Args:
        function: Takes eigenvalues `(..., F)`, and returns f of them and the
            divided differences K, `(..., F, F)`, finite for equal ones too.
    """

    def forward(matrix: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        # JAX may trace this once more, out of the context of the caller.
        with full_precision():
            values, vectors = _decompose(matrix)
            results, slopes = function(values)
            scaled = vectors * ops.expand_dims(results, -2)
            root = product(scaled, ops.swapaxes(vectors, -2, -1))
        return root, (vectors, slopes)

    def backward(kept: tuple[Tensor, ...], upstream: Tensor) -> Tensor:
        vectors, slopes = kept
        transposed = ops.swapaxes(vectors, -2, -1)
        with full_precision():
            change = product(product(transposed, upstream), vectors)
            return product(product(vectors, slopes * change), transposed)

    return Rule(forward, backward)


def newton_schulz_of_eigenvalues(num_iterations: int) -> Rule:
    """Returns the rule of the Z of Newton-Schulz iteration."""

    def iterate(values: Tensor) -> _Pair:
        ones = ops.ones_like(values[..., None] - values[..., None, :])
        y = values, ones
        z = t = _correction(y)
        for _ in range(num_iterations - 1):
            y = _times(y, t)
            t = _correction(_times(z, y))
            z = _times(t, z)
        return z

    return spectral(iterate)


def _correction(f: _Pair) -> _Pair:
    return 1.5 - 0.5 * f[0], -0.5 * f[1]


def _times(f: _Pair, g: _Pair) -> _Pair:
    """Returns the product, by a rule that divides by no difference.

    The divided differences of `f g` are `f[a, b] g(b) + f(a) g[a, b]`.
    """
    left = f[1] * ops.expand_dims(g[0], -2)
    right = ops.expand_dims(f[0], -1) * g[1]
    return f[0] * g[0], left + right


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues and eigenvectors: those of I for a matrix of NaN.

    LAPACK refuses NaN on some backends, and a graph cannot catch that.
    """
    is_finite = ops.all(ops.isfinite(matrix), axis=(-2, -1), keepdims=True)
    identity = ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    values, vectors = ops.linalg.eigh(ops.where(is_finite, matrix, identity))
    return values, vectors

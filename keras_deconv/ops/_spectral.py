"""Functions of symmetric matrices by their eigenvalues."""

from collections.abc import Callable

from keras import ops

from keras_deconv._engine import full_precision
from keras_deconv._engine import with_gradient
from keras_deconv._types import Tensor
from keras_deconv.ops._product import product


def spectral(
    matrix: Tensor, function: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Applies a function to the eigenvalues of a matrix.

    With `A = U diag(l) U^T`, f(A) is `U diag(f(l)) U^T`. Its derivative in a
    direction E (Higham, Functions of Matrices, theorem 3.11) is

        U [K o (U^T E U)] U^T,    K_ij = (f(l_i) - f(l_j)) / (l_i - l_j).

    The gradient is that: the gradient of a decomposition itself would divide
    by differences of eigenvalues, and not be finite for repeated ones.

    Args:
        matrix: A, `(..., F, F)`, symmetric. One that holds a NaN or an
            infinity is taken for the identity.
        function: Takes eigenvalues `(..., F)`, and returns f of them and the
            divided differences K, `(..., F, F)`, finite for equal ones too.

    Returns:
        f(A), `(..., F, F)`, symmetric up to rounding.
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

    return with_gradient(forward, backward, matrix)


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues and eigenvectors: those of I for a matrix of NaN.

    LAPACK refuses NaN on some backends, and a graph cannot catch that.
    """
    is_finite = ops.all(ops.isfinite(matrix), axis=(-2, -1), keepdims=True)
    identity = ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    values, vectors = ops.linalg.eigh(ops.where(is_finite, matrix, identity))
    return values, vectors

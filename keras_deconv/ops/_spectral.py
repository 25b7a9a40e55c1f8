"""Functions of symmetric matrices by their eigenvalues."""

from collections.abc import Callable

from keras import ops

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
            infinity gives a result that is not finite.
        function: Takes eigenvalues `(..., F)`, and returns f of them and the
            divided differences K, `(..., F, F)`, finite for equal ones too.

    Returns:
        f(A), `(..., F, F)`, symmetric up to rounding.
    """
    fixed = ops.stop_gradient(matrix)
    values, vectors = _decompose(fixed)
    results, slopes = function(values)
    transposed = ops.swapaxes(vectors, -2, -1)
    # The derivative is added as a term of value zero.
    change = product(product(transposed, matrix - fixed), vectors)
    term = product(product(vectors, slopes * change), transposed)
    scaled = vectors * ops.expand_dims(results, -2)
    return product(scaled, transposed) + term


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues and eigenvectors: those of I for a matrix of NaN.

    LAPACK refuses NaN on some backends, and a graph cannot catch that.
    """
    is_finite = ops.all(ops.isfinite(matrix), axis=(-2, -1), keepdims=True)
    identity = ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    values, vectors = ops.linalg.eigh(ops.where(is_finite, matrix, identity))
    return values, vectors

"""Exact inverse square root by eigenvalues."""

from keras import ops

from keras_deconv._types import Tensor
from keras_deconv.ops._newton_schulz import normalize
from keras_deconv.ops._product import product


def eigh(matrix: Tensor, num_iterations: int) -> Tensor:
    """Computes `matrix ** -1/2` from eigenvalues and eigenvectors.

    With `A = U diag(l) U^T`, D is `U diag(l ** -1/2) U^T`. Its derivative in
    a direction E (Higham, Functions of Matrices, theorem 3.11) is

        U [K o (U^T E U)] U^T,
        K_ij = -1 / (sqrt(l_i) sqrt(l_j) (sqrt(l_i) + sqrt(l_j))),

    finite for repeated eigenvalues too.

    Exact is not better: unlike a few Newton-Schulz steps, this amplifies
    directions of little variance without bound. It is for measuring other
    methods and for calibration, and slow on accelerators.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite. The result is
            not finite if an eigenvalue is not positive, by rounding or in
            truth.
        num_iterations: Ignored.

    Returns:
        `(..., F, F)`, symmetric up to rounding.
    """
    matrix, root = normalize(matrix)
    fixed = ops.stop_gradient(matrix)
    values, vectors = _decompose(fixed)
    transposed = ops.swapaxes(vectors, -2, -1)
    rows = ops.expand_dims(ops.sqrt(values), -1)
    columns = ops.expand_dims(ops.sqrt(values), -2)
    slopes = -1 / (rows * columns * (rows + columns))
    # The gradient of a decomposition divides by differences of eigenvalues.
    # The derivative above is added instead, as a term of value zero.
    change = product(product(transposed, matrix - fixed), vectors)
    term = product(product(vectors, slopes * change), transposed)
    return (product(vectors / columns, transposed) + term) / root


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues and eigenvectors: those of I for a matrix of NaN.

    LAPACK refuses NaN on some backends, and a graph cannot catch that.
    """
    is_finite = ops.all(ops.isfinite(matrix), axis=(-2, -1), keepdims=True)
    identity = ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    values, vectors = ops.linalg.eigh(ops.where(is_finite, matrix, identity))
    return values, vectors

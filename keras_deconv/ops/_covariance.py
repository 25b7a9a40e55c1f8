"""Mean and covariance of the columns."""

from keras import ops

from keras_deconv._types import Tensor


def mean(columns: Tensor) -> Tensor:
    """Returns the mean row of `(matrices, rows, F)`: `(matrices, F)`."""
    return ops.sum(columns, axis=1) / _rows(columns)


def covariance(columns: Tensor, mean: Tensor, epsilon: float) -> Tensor:
    """Returns `(X - mean)^T (X - mean) / rows + epsilon I`.

    Network deconvolution, algorithm 1. The columns are centred before the
    product: `E[x x^T] - mean mean^T` is the same on paper, but cancels in
    float32 and can come out indefinite.

    Args:
        columns: X, `(matrices, rows, F)`.
        mean: `(matrices, F)`.
        epsilon: The ridge, in squared units of the columns.

    Returns:
        `(matrices, F, F)`.
    """
    centred = ops.subtract(columns, ops.expand_dims(mean, 1))
    product = ops.einsum("grf,grh->gfh", centred, centred)
    ridge = epsilon * ops.eye(columns.shape[-1], dtype=columns.dtype)
    return product / _rows(columns) + ridge


def _rows(columns: Tensor) -> Tensor:
    return ops.cast(ops.shape(columns)[1], columns.dtype)

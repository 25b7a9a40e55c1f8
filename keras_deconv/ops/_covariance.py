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
    # The centred columns sum to zero, so moving the mean changes nothing to
    # first order: its gradient is zero, and not worth a pass over all rows.
    mean = ops.expand_dims(ops.stop_gradient(mean), 1)
    centred = ops.subtract(columns, mean)
    # With G the gradient of a product X^T X, that of X is X (G + G^T). Left
    # to itself, each factor would take a product of its own with all rows.
    product = ops.einsum("grf,grh->gfh", ops.stop_gradient(centred), centred)
    product = product + (product - ops.stop_gradient(product))
    product = (product + ops.swapaxes(product, -1, -2)) / 2
    ridge = epsilon * ops.eye(columns.shape[-1], dtype=columns.dtype)
    return product / _rows(columns) + ridge


def _rows(columns: Tensor) -> Tensor:
    return ops.cast(ops.shape(columns)[1], columns.dtype)

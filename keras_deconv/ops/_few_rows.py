"""Inverse square root of a covariance with fewer rows than features."""

from typing import Any

from keras import ops

from keras_deconv._checks import check_count
from keras_deconv._types import Tensor
from keras_deconv.ops._newton_schulz import iterate
from keras_deconv.ops._product import product

# From so many features on it pays, if rows are so many times fewer: products
# are then of an eighth of the size.
_MANY, _FEWER = 256, 4


def are_few(rows: Any, features: int) -> Any:
    """Whether D is better computed by rows; a tensor if `rows` is one."""
    return features >= _MANY and rows * _FEWER <= features


def inverse_sqrt_of_rows(
    columns: Tensor, mean: Tensor, epsilon: float, num_iterations: int
) -> Tensor:
    """Computes what `newton_schulz` does of `covariance`, without that.

    The covariance of n rows is `A = X^T X + epsilon I`, X the centred rows
    over the root of n. In all but n directions f(A) is f(epsilon), and in
    those it follows from `G = X X^T + epsilon I`, which is `n x n`:

        f(A) = f(epsilon) I + X^T K X,    K = (f(G) - f(epsilon I)) / (X X^T)

    K would divide by zero, but the iteration itself computes it, of the
    block matrix (Higham, Functions of Matrices, section 4.6)

        f([[G, I], [0, epsilon I]]) = [[f(G), K], [0, f(epsilon) I]].

    So its products are of `2n x 2n`, for `F x F`; and up to some ten steps it
    is the more exact, for what no row spans is one number. More of them
    amplify the rounding of K.

    Args:
        columns: `(matrices, rows, F)`; the rows may be unknown.
        mean: `(matrices, F)`.
        epsilon: The ridge, as in `covariance`.
        num_iterations: Newton-Schulz steps, at least 1.

    Returns:
        `(matrices, F, F)`.

    Raises:
        ValueError: If `num_iterations` is below 1.
    """
    check_count("num_iterations", num_iterations)
    columns, mean = map(ops.convert_to_tensor, (columns, mean))
    count, features = ops.shape(columns)[1:]
    number = ops.cast(count, columns.dtype)
    rows = (columns - ops.expand_dims(mean, 1)) / ops.sqrt(number)
    transposed = ops.swapaxes(rows, -2, -1)
    gram = product(rows, transposed)
    # The largest entry is taken out as in `normalize`, for the same reason.
    largest = ops.abs(ops.stop_gradient(gram))
    scale = ops.max(largest, axis=(-2, -1), keepdims=True) + epsilon
    identity = ops.eye(count, dtype=columns.dtype)
    ridge = epsilon / scale
    gram = gram / scale + ridge * identity
    norm = ops.sqrt(
        ops.sum(ops.square(gram), axis=(-2, -1), keepdims=True)
        + (features - number) * ops.square(ridge)
    )
    gram, corner = gram / norm, ridge / norm * identity
    upper = ops.concatenate([gram, ops.ones_like(gram) * identity], axis=-1)
    lower = ops.concatenate([ops.zeros_like(gram), corner], axis=-1)
    start = ops.concatenate([upper, lower], axis=-2)
    z = iterate(start, num_iterations).zs[-1]
    inner, rest = z[:, :count, count:], z[:, -1:, -1:]
    # One by one: their product may be too large.
    spanned = product(transposed, product(inner, rows)) / scale / norm
    identity = ops.eye(features, dtype=columns.dtype)
    root = spanned + rest * identity
    return root / ops.sqrt(scale) / ops.sqrt(norm)

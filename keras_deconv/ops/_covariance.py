"""Mean and covariance of the columns."""

from keras import ops

from keras_deconv._engine import as_number
from keras_deconv._engine import average
from keras_deconv._engine import eye
from keras_deconv._engine import gram
from keras_deconv._types import Tensor


def mean(columns: Tensor) -> Tensor:
    """Returns the mean row of `(matrices, rows, F)`: `(matrices, F)`.

    Raises:
        ValueError: If the columns are of another rank.
    """
    columns = ops.convert_to_tensor(columns)
    if len(columns.shape) != 3:
        raise ValueError(
            "Columns must be (matrices, rows, F). "
            f"Received: columns of shape {tuple(columns.shape)}"
        )
    return average(columns, axis=1)


def covariance(columns: Tensor, mean: Tensor, epsilon: float) -> Tensor:
    """Returns `(X - mean)^T (X - mean) / rows + epsilon I`.

    Network deconvolution, algorithm 1. The columns are centred before the
    product: `E[x x^T] - mean mean^T` is the same on paper, but cancels in
    float32 and can come out indefinite.

    Args:
        columns: X, `(matrices, rows, F)`.
        mean: `(matrices, F)`. It must be that of the columns: the gradient
            relies on it, and none goes to it.
        epsilon: The ridge, in squared units of the columns.

    Returns:
        `(matrices, F, F)`.
    """
    columns, mean = map(ops.convert_to_tensor, (columns, mean))
    return _with_ridge(scatter(columns, mean) / rows(columns), epsilon)


def scatter(columns: Tensor, mean: Tensor) -> Tensor:
    """Returns `(X - mean)^T (X - mean)`: `(matrices, F, F)`.

    The mean must be that of the columns: the gradient relies on it, and none
    goes to it.
    """
    return gram(*map(ops.convert_to_tensor, (columns, mean)))


def pool(
    counts: Tensor, means: Tensor, scatters: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Returns mean and covariance of columns that lie in several parts.

    Each part has been centred on its own mean; what is missing is the
    scatter of these means (Chan, Golub and LeVeque, 1979):
    `sum_i S_i + sum_i n_i (mean_i - mean) (mean_i - mean)^T`.

    Args:
        counts: n, the rows of each part, `(parts,)`.
        means: The mean of each part, `(parts, matrices, F)`.
        scatters: The sum of the scatters of all parts, `(matrices, F, F)`.
        epsilon: The ridge, as in `covariance`.

    Returns:
        `(matrices, F)` and `(matrices, F, F)`, as `mean` and `covariance`
        return them of all columns together; so are their gradients.
    """
    total = ops.sum(counts)
    mean = pool_means(counts, means)
    steps = means - mean
    weighted = ops.reshape(counts, (-1, 1, 1)) * steps
    between = ops.einsum("pgf,pgh->gfh", weighted, steps)
    return mean, _with_ridge((scatters + between) / total, epsilon)


def pool_means(counts: Tensor, means: Tensor) -> Tensor:
    """Returns the mean of columns that lie in several parts, as `pool`."""
    return ops.einsum("p,pgf->gf", counts / ops.sum(counts), means)


def pool_variances(
    counts: Tensor, means: Tensor, variances: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns means and variances of rows that lie in several parts.

    Args:
        counts: The rows of each part, `(parts,)`, or their shares.
        means: The means of each part, `(parts, C)`.
        variances: The variances of each part, about its own means.

    Returns:
        `(C,)` each.
    """
    shares = counts / ops.sum(counts)
    mean = ops.einsum("p,pc->c", shares, means)
    variances = variances + ops.square(means - mean)
    return mean, ops.einsum("p,pc->c", shares, variances)


def _with_ridge(covariance: Tensor, epsilon: float) -> Tensor:
    ridge = eye(covariance.shape[-1], like=covariance, scale=epsilon)
    return covariance + ridge


def rows(columns: Tensor) -> Tensor:
    """Returns the number of rows of `(matrices, rows, F)`.

    A tensor of the same dtype if that is unknown.
    """
    return as_number(ops.shape(columns)[1], like=columns)

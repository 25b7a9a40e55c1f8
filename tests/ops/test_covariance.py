import numpy as np
import pytest
from keras import ops

import compare
import gradients
import oracle
from keras_deconv._engine import mean_and_variance
from keras_deconv.ops import covariance
from keras_deconv.ops import inverse_sqrt
from keras_deconv.ops import mean
from keras_deconv.ops import pool
from keras_deconv.ops import pool_variances
from keras_deconv.ops import rows
from keras_deconv.ops import scatter


@pytest.fixture
def columns(rng):
    mixing = rng.normal(size=(2, 6, 6))
    return (rng.normal(size=(2, 50, 6)) @ mixing + 3).astype("float32")


def test_mean_of_each_group(columns):
    compare.assert_close(mean(columns), columns.astype("float64").mean(1))


def test_covariance_divides_by_rows_and_adds_the_ridge(columns):
    actual = covariance(columns, mean(columns), 0.5)
    for group in range(2):
        expected = np.cov(columns[group].astype("float64").T, bias=True)
        compare.assert_close(actual[group], expected + 0.5 * np.eye(6))


def test_large_mean_does_not_cancel(rng):
    """E[xx] - mean mean errs by a third here, and turns indefinite."""
    columns = (rng.normal(size=(1, 4096, 8)) + 1000).astype("float32")
    actual = covariance(columns, mean(columns), 1e-5)
    expected = np.cov(columns[0].astype("float64").T, bias=True)
    compare.assert_close(actual[0], expected + 1e-5 * np.eye(8), 1e-4)
    uncentred = np.einsum("grf,grh->gfh", columns, columns)[0] / 4096
    uncentred -= np.outer(*[columns[0].mean(0)] * 2)
    assert compare.relative_error(uncentred, expected) > 0.1


def test_gradient_of_any_cotangent(columns, rng):
    """X (G + G^T) / rows, of a G that is not symmetric either."""
    mu, upstream = mean(columns), rng.normal(size=(2, 6, 6)).astype("float32")
    actual = gradients.gradient(
        lambda x: covariance(x, mu, 0.5), columns, upstream
    )
    centred = columns - ops.convert_to_numpy(mu)[:, None]
    expected = centred @ (upstream + np.swapaxes(upstream, 1, 2)) / 50
    compare.assert_close(actual, expected)


def test_whitened_columns_have_identity_covariance(columns):
    mu = mean(columns)
    deconv = inverse_sqrt(covariance(columns, mu, 1e-6), 25)
    whitened = ops.matmul(ops.subtract(columns, ops.expand_dims(mu, 1)), deconv)
    actual = covariance(whitened, mean(whitened), 1e-9)
    for group in range(2):
        compare.assert_close(actual[group], np.eye(6), 1e-3)


def test_root_of_the_oracle_is_exact_too(columns):
    """Guards the guard: both roots of the oracle agree when converged."""
    matrix = np.cov(columns[0].astype("float64").T) + 1e-3 * np.eye(6)
    compare.assert_close(
        oracle.inverse_sqrt(matrix, 40), oracle.exact_inverse_sqrt(matrix)
    )


def pooled(columns, epsilon=0.5):
    """Mean and covariance of columns that lie in three parts."""
    parts = columns[:, :5], columns[:, 5:20], columns[:, 20:]
    means = [mean(part) for part in parts]
    scatters = [scatter(x, mu) for x, mu in zip(parts, means, strict=True)]
    return pool(
        ops.convert_to_tensor([float(rows(part)) for part in parts]),
        ops.stack(means),
        sum(scatters),
        epsilon,
    )


@pytest.fixture
def uneven(columns):
    """Columns whose parts have means of their own."""
    return columns + np.linspace(-3, 3, 50, dtype="float32")[:, None]


def test_parts_are_pooled_as_if_they_were_one(uneven):
    mu, cov = pooled(ops.convert_to_tensor(uneven))
    compare.assert_close(mu, uneven.astype("float64").mean(1))
    for group in range(2):
        expected = np.cov(uneven[group].astype("float64").T, bias=True)
        compare.assert_close(cov[group], expected + 0.5 * np.eye(6))


def test_large_mean_of_parts_does_not_cancel(rng):
    columns = (rng.normal(size=(1, 4096, 8)) + 1000).astype("float32")
    _, actual = pooled(ops.convert_to_tensor(columns), 1e-5)
    expected = np.cov(columns[0].astype("float64").T, bias=True)
    compare.assert_close(actual[0], expected + 1e-5 * np.eye(8), 1e-4)


def test_variances_of_parts_are_those_of_the_whole(uneven):
    whole = uneven[0].astype("float64")
    x = ops.convert_to_tensor(uneven[0])
    for actual, expected in zip(
        mean_and_variance(x), (whole.mean(0), whole.var(0)), strict=True
    ):
        compare.assert_close(actual, expected)
    parts = x[:5], x[5:20], x[20:]
    means, variances = zip(*map(mean_and_variance, parts), strict=True)
    shares = ops.convert_to_tensor([10.0, 30.0, 60.0])
    pooled = pool_variances(shares, ops.stack(means), ops.stack(variances))
    compare.assert_close(pooled[0], whole.mean(0))
    compare.assert_close(pooled[1], whole.var(0))


@pytest.mark.parametrize("index", [0, 1], ids=["mean", "covariance"])
def test_gradient_of_parts_is_that_of_the_whole(uneven, rng, index):
    def whole(x):
        mu = mean(x)
        return mu, covariance(x, mu, 0.5)

    shape = [(2, 6), (2, 6, 6)][index]
    upstream = rng.normal(size=shape).astype("float32")
    actual, expected = (
        gradients.gradient(lambda x, f=f: f(x)[index], uneven, upstream)
        for f in (pooled, whole)
    )
    compare.assert_close(actual, ops.convert_to_numpy(expected))


def test_columns_of_another_rank():
    with pytest.raises(ValueError, match=r"matrices, rows, F.*shape \(4, 3\)"):
        mean(np.ones((4, 3), "float32"))

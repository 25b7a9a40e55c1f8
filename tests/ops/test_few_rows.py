"""D of fewer rows than features, without a covariance of them."""

import keras
import numpy as np
import pytest
from keras import ops

import compare
import gradients
import oracle
from keras_deconv.ops import covariance
from keras_deconv.ops import inverse_sqrt
from keras_deconv.ops import inverse_sqrt_of_rows
from keras_deconv.ops import mean

EPSILON = 1e-3


@pytest.fixture
def columns(rng):
    mixing = rng.normal(size=(2, 24, 24))
    return (rng.normal(size=(2, 5, 24)) @ mixing + 3).astype("float32")


def by_rows(columns, num_iterations=5, epsilon=EPSILON):
    return inverse_sqrt_of_rows(columns, mean(columns), epsilon, num_iterations)


def expected(columns, num_iterations=5, epsilon=EPSILON):
    """Of each group, by the covariance of all features, in float64."""
    roots = []
    for group in columns.astype("float64"):
        matrix = np.cov(group.T, bias=True) + epsilon * np.eye(group.shape[1])
        roots.append(oracle.inverse_sqrt(matrix, num_iterations))
    return np.stack(roots)


@pytest.mark.parametrize("num_iterations", [1, 2, 5, 9])
def test_is_that_of_the_covariance(columns, num_iterations):
    compare.assert_close(
        by_rows(columns, num_iterations), expected(columns, num_iterations)
    )


@pytest.mark.parametrize("rows", [1, 24, 60])
def test_takes_any_number_of_rows(rng, rows):
    columns = rng.normal(size=(1, rows, 24)).astype("float32")
    compare.assert_close(by_rows(columns), expected(columns))


def test_is_closer_than_the_root_of_the_covariance(rng):
    """What no row spans is rounded once, not in every product."""
    columns = rng.normal(size=(1, 64, 256)).astype("float32")
    wanted = expected(columns, 9)
    direct = inverse_sqrt(covariance(columns, mean(columns), EPSILON), 9)
    assert compare.relative_error(
        ops.convert_to_numpy(by_rows(columns, 9)), wanted
    ) < 0.5 * compare.relative_error(ops.convert_to_numpy(direct), wanted)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scale(columns, scale):
    """Squares in the norm would leave float32 at either."""
    columns = columns.astype("float64")
    epsilon = EPSILON * scale**2
    actual = by_rows((columns * scale).astype("float32"), epsilon=epsilon)
    compare.assert_close(
        ops.convert_to_numpy(actual) * scale, expected(columns)
    )


def test_largest_scale(rng):
    """One over the norm would vanish in float32."""
    columns = rng.normal(size=(1, 8, 300))
    actual = by_rows((columns * 1e18).astype("float32"))
    compare.assert_close(
        ops.convert_to_numpy(actual) * 1e18, expected(columns, epsilon=0)
    )


def test_gradient_is_that_of_the_covariance(columns, rng):
    upstream = rng.normal(size=(2, 24, 24)).astype("float32")

    def by_features(x):
        return inverse_sqrt(covariance(x, mean(x), EPSILON))

    actual, wanted = (
        gradients.gradient(function, columns, upstream)
        for function in (by_rows, by_features)
    )
    compare.assert_close(actual, wanted, 1e-4)


def test_gradient_by_finite_differences(rng):
    columns = rng.normal(size=(1, 3, 12))
    upstream = rng.normal(size=(1, 12, 12))
    wanted = np.zeros_like(columns)
    for entry in np.ndindex(columns.shape):
        change = np.zeros_like(columns)
        change[entry] = 1e-6
        rise = expected(columns + change) - expected(columns - change)
        wanted[entry] = (rise * upstream).sum() / 2e-6
    actual = gradients.gradient(
        by_rows, columns.astype("float32"), upstream.astype("float32")
    )
    compare.assert_close(actual, wanted, 1e-4)


def test_equal_rows_leave_the_ridge(rng):
    columns = np.repeat(rng.normal(size=(1, 1, 24)), 4, axis=1)
    actual = by_rows(columns.astype("float32"), 20)
    compare.assert_close(actual, np.eye(24)[None] / np.sqrt(EPSILON), 1e-3)


def test_nan_spreads(columns):
    columns[0, 0, 0] = np.nan
    assert np.isnan(ops.convert_to_numpy(by_rows(columns))[0]).all()


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the other backends know all sizes",
)
def test_unknown_rows(columns):
    import tensorflow as tf

    function = tf.function(
        by_rows, input_signature=[tf.TensorSpec((2, None, 24), tf.float32)]
    )
    compare.assert_close(function(columns), expected(columns))

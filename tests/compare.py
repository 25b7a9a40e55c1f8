"""Comparison of arrays, in the measure that the project states."""

import numpy as np
from keras import ops


def relative_error(actual, expected):
    """Returns the largest difference over the largest expected value."""
    actual = np.asarray(ops.convert_to_numpy(actual), "float64")
    expected = np.asarray(ops.convert_to_numpy(expected), "float64")
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / np.abs(expected).max()


def assert_close(actual, expected, tolerance=1e-5):
    """Fails unless the relative error is within `tolerance`."""
    error = relative_error(actual, expected)
    assert error <= tolerance, f"relative error {error:.2e} > {tolerance:.0e}"

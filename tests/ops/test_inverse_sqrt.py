import functools
import re
from typing import get_args

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

import compare
import golden
import gradients
import oracle
import oracle_gradient
from keras_deconv._types import RootMethod
from keras_deconv.ops import _minimax
from keras_deconv.ops import _newton_schulz
from keras_deconv.ops import inverse_sqrt
from keras_deconv.ops import sqrt_pair

ORACLES = {
    "newton_schulz": lambda matrix: oracle.inverse_sqrt(matrix, 5),
    "minimax": oracle.minimax_inverse_sqrt,
    "eigh": oracle.exact_inverse_sqrt,
}
EXACT = ("newton_schulz", "eigh")

each_method = pytest.mark.parametrize("method", ORACLES)


def spd(seed, size, floor=0.1):
    """A batch of two positive definite matrices, condition about 1 / floor."""
    rng = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(rng.normal(size=(2, size, size)))
    values = rng.uniform(floor, 1, size=(2, 1, size))
    return (vectors * values @ np.swapaxes(vectors, 1, 2)).astype("float32")


@pytest.fixture
def by_eigenvalues(monkeypatch):
    """Returns a function that says which way Newton-Schulz is computed."""
    return lambda choice: monkeypatch.setattr(
        _newton_schulz, "has_fast_eigh", lambda matrix: choice
    )


def compiled(function):
    """Returns the function as its backend compiles it."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            return tf.function(function)
        case "torch":
            return function
        case "jax":
            import jax

            return jax.jit(function)


def finite_difference(function, matrix, upstream, step=1e-6):
    """Returns the gradient of `sum(function(matrix) * upstream)`."""
    grad = np.zeros_like(matrix)
    for entry in np.ndindex(matrix.shape):
        change = np.zeros_like(matrix)
        change[entry] = step
        rise = function(matrix + change) - function(matrix - change)
        grad[entry] = (rise * upstream).sum() / (2 * step)
    return grad


def symmetric(gradient):
    """Returns what a gradient says of the changes of a symmetric matrix."""
    return (gradient + np.swapaxes(gradient, -2, -1)) / 2


@pytest.mark.parametrize("name", ["isqrt_iter5", "isqrt_iter15"])
def test_golden_values_and_gradients(name):
    case = golden.load(name)
    iterations = case["config"]["iterations"]
    actual = inverse_sqrt(case["a"], iterations)
    compare.assert_close(actual, case["isqrt"], golden.tolerance(case))
    grad = gradients.gradient(
        lambda a: inverse_sqrt(a, iterations), case["a"], case["upstream"]
    )
    expected = symmetric(case["grad_a"])
    compare.assert_close(grad, expected, golden.tolerance(case))


@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 8))
def test_oracle(seed, size, num_iterations):
    matrix = spd(seed, size)
    actual = inverse_sqrt(matrix, num_iterations)
    for index in range(2):
        expected = oracle.inverse_sqrt(
            matrix[index].astype("float64"), num_iterations
        )
        compare.assert_close(actual[index], expected)


@given(st.integers(0, 99), st.integers(1, 9))
def test_many_iterations_reach_the_exact_roots(seed, size):
    matrix = spd(seed, size)
    root, inverse = sqrt_pair(matrix, 15)
    for index in range(2):
        exact = oracle.exact_inverse_sqrt(matrix[index].astype("float64"))
        compare.assert_close(inverse[index], exact, 1e-4)
        compare.assert_close(root[index], np.linalg.inv(exact), 1e-4)


def test_pair_shares_the_inverse_root(by_eigenvalues):
    by_eigenvalues(False)
    matrix = spd(0, 5)
    _, inverse = sqrt_pair(matrix, 4)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(inverse),
        ops.convert_to_numpy(inverse_sqrt(matrix, 4)),
    )


def covariance_of_few(seed, size):
    """A batch of two covariances of fewer samples than features."""
    rng = np.random.default_rng(seed)
    rows = np.maximum(rng.normal(size=(2, size // 2, size)), 0)
    ridge = 1e-5 * np.eye(size)
    return (np.swapaxes(rows, 1, 2) @ rows / size + ridge).astype("float32")


@pytest.mark.parametrize("make", [spd, covariance_of_few])
@given(st.integers(0, 99), st.sampled_from([1, 2, 7, 40]), st.integers(4, 8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_eigenvalues_give_the_same(
    make, by_eigenvalues, seed, size, num_iterations
):
    """Values and gradients, for any upstream gradient."""
    matrix = make(seed, size)
    upstream = np.random.default_rng(seed).normal(size=matrix.shape)
    upstream = upstream.astype("float32")
    found = []
    for choice in (True, False):
        by_eigenvalues(choice)
        found.append(
            (
                inverse_sqrt(matrix, num_iterations),
                gradients.gradient(
                    lambda a: inverse_sqrt(a, num_iterations), matrix, upstream
                ),
            )
        )
    for mine, other in zip(*found, strict=True):
        compare.assert_close(mine, ops.convert_to_numpy(other), 1e-4)


def test_eigenvalues_of_equal_size(by_eigenvalues):
    """Divided differences of equal eigenvalues are the derivative."""
    by_eigenvalues(True)
    matrix, upstream = np.eye(4, dtype="float32")[None], spd(0, 4)[:1]
    grad = gradients.gradient(lambda a: inverse_sqrt(a, 5), matrix, upstream)
    expected = oracle_gradient.inverse_sqrt(
        matrix[0].astype("float64"), 5, upstream[0]
    )
    compare.assert_close(grad[0], expected)


def test_eigenvalues_of_what_is_not_finite(by_eigenvalues):
    by_eigenvalues(True)
    matrix = spd(0, 3)
    matrix[0, 1, 1] = np.nan
    found = ops.convert_to_numpy(inverse_sqrt(matrix, 5))
    assert not np.isfinite(found[0]).any()
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize(
    ("function", "args", "count"),
    [
        pytest.param(inverse_sqrt, (1,), 0, id="newton-schulz-1"),
        pytest.param(inverse_sqrt, (2,), 3, id="newton-schulz-2"),
        pytest.param(inverse_sqrt, (5,), 12, id="newton-schulz-5"),
        pytest.param(inverse_sqrt, (15,), 42, id="newton-schulz-15"),
        pytest.param(inverse_sqrt, (5, "minimax"), 5, id="minimax"),
        pytest.param(sqrt_pair, (5,), 13, id="pair-5"),
    ],
)
def test_takes_no_needless_product(
    monkeypatch, by_eigenvalues, function, args, count
):
    by_eigenvalues(False)
    products = []
    for module in (_minimax, _newton_schulz):
        monkeypatch.setattr(
            module, "product", lambda a, b: products.append(1) or a @ b
        )
    monkeypatch.setattr(
        _newton_schulz,
        "add_product",
        lambda start, a, b: products.append(1) or start + a @ b,
    )
    function(spd(0, 3), *args)
    assert len(products) == count


def test_few_iterations_bound_the_gain():
    """Five steps amplify by at most 1.5 ** 5 over the root of the norm."""
    values = np.array([1, 1e-2, 1e-8], "float32")
    deconv = inverse_sqrt(np.diag(values)[None], 5)
    gains = np.diagonal(ops.convert_to_numpy(deconv)[0])
    limit = 1.5**5 / np.sqrt(np.linalg.norm(values))
    assert gains[0] == pytest.approx(1, abs=1e-3)
    assert gains[2] == pytest.approx(limit, rel=1e-3)
    assert gains.max() <= limit * (1 + 1e-6)


def test_gradient_of_the_oracle():
    matrix, upstream = spd(0, 6), spd(1, 6)
    actual = gradients.gradient(lambda a: inverse_sqrt(a, 5), matrix, upstream)
    for index in range(2):
        expected = oracle_gradient.inverse_sqrt(
            matrix[index].astype("float64"), 5, upstream[index]
        )
        compare.assert_close(actual[index], expected)


def test_every_method_is_tested():
    assert tuple(ORACLES) == get_args(RootMethod)


def test_defaults_are_the_paper():
    matrix = spd(0, 3)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(inverse_sqrt(matrix)),
        ops.convert_to_numpy(inverse_sqrt(matrix, 5, "newton_schulz")),
    )


@each_method
@given(st.integers(0, 99), st.sampled_from([1, 3]))
def test_oracle_of_each_method(method, seed, size):
    matrix = spd(seed, size)
    actual = inverse_sqrt(matrix, 5, method)
    for index in range(2):
        expected = ORACLES[method](matrix[index].astype("float64"))
        compare.assert_close(actual[index], expected)


@pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="JAX computes in float32 unless told otherwise",
)
@each_method
def test_float64_is_not_rounded_on_the_way(method):
    matrix = spd(0, 3).astype("float64")
    matrix = (matrix + np.swapaxes(matrix, 1, 2)) / 2
    actual = inverse_sqrt(matrix, 5, method)
    compare.assert_close(actual[0], ORACLES[method](matrix[0]), 1e-12)


@each_method
def test_gradient_of_each_method(method, rng):
    """The symmetric part, for any upstream gradient, symmetric or not."""
    if method == "eigh":
        # Takes matrices that are not symmetric too, as the others do.
        reference = functools.partial(oracle.inverse_sqrt, num_iterations=30)
    else:
        reference = ORACLES[method]
    matrix, upstream = spd(0, 3), rng.normal(size=(2, 3, 3)).astype("float32")
    actual = gradients.gradient(
        lambda a: inverse_sqrt(a, 5, method), matrix, upstream
    )
    for index in range(2):
        expected = finite_difference(
            reference, matrix[index].astype("float64"), upstream[index]
        )
        compare.assert_close(actual[index], symmetric(expected))


def test_gradient_by_eigenvalues_is_that_of_many_steps(rng):
    matrix, upstream = spd(0, 3), rng.normal(size=(2, 3, 3)).astype("float32")
    exact, iterated = (
        gradients.gradient(
            lambda a, method=method: inverse_sqrt(a, 15, method),
            matrix,
            upstream,
        )
        for method in ("eigh", "newton_schulz")
    )
    compare.assert_close(exact, ops.convert_to_numpy(iterated))


def test_eigenvalues_that_rounding_cannot_tell_from_zero(rng):
    """Covariance of grey images, as RGB from 0 to 255: the ridge is lost."""
    grey = 255 * rng.random((64, 9, 1))
    columns = np.tile(grey, (1, 1, 3)).reshape(64, 27)
    matrix = np.cov(columns.T, bias=True) + 1e-5 * np.eye(27)
    found = ops.convert_to_numpy(
        inverse_sqrt(matrix.astype("float32"), method="eigh")
    )
    assert np.isfinite(found).all()
    # What does have variance is whitened; the rest is not blown up.
    whitened = np.cov((columns @ found).T, bias=True)
    compare.assert_close(whitened, whole(columns), 1e-3)
    least = 27 * np.finfo("float32").eps * np.linalg.norm(matrix)
    assert np.linalg.norm(found, 2) <= 1.01 / np.sqrt(least)


def whole(columns):
    """The projection on the directions of some variance."""
    _, values, vectors = np.linalg.svd(columns - columns.mean(0))
    kept = vectors[values > 1e-6 * values[0]]
    return kept.T @ kept


def test_negative_eigenvalues_are_not_hidden():
    matrix = np.diag(np.array([1.0, -0.1], "float32"))
    found = ops.convert_to_numpy(inverse_sqrt(matrix, method="eigh"))
    assert np.isnan(found).any()


def test_gradient_by_eigenvalues_where_they_repeat(rng):
    matrix = np.tile(4 * np.eye(3, dtype="float32"), (2, 1, 1))
    upstream = rng.normal(size=(2, 3, 3)).astype("float32")
    grad = gradients.gradient(
        lambda a: inverse_sqrt(a, method="eigh"), matrix, upstream
    )
    compare.assert_close(grad, -symmetric(upstream) / 16)


@each_method
@given(st.integers(0, 99), st.floats(-30, 30))
def test_any_scale(method, seed, exponent):
    """`|s A|` squared would overflow from s about 1e19 on."""
    matrix, scale = spd(seed, 3), np.float32(10**exponent)
    actual = ops.convert_to_numpy(inverse_sqrt(scale * matrix, 5, method))
    expected = ops.convert_to_numpy(inverse_sqrt(matrix, 5, method))
    compare.assert_close(actual * np.sqrt(scale), expected)


@each_method
@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_gradient_at_any_scale(method, scale):
    matrix, upstream = spd(0, 3), spd(1, 3)
    grads = [
        gradients.gradient(
            lambda a: inverse_sqrt(a, 5, method), value, upstream
        )
        for value in (matrix, matrix * np.float32(scale))
    ]
    expected, actual = map(ops.convert_to_numpy, grads)
    compare.assert_close(actual.astype("float64") * scale**1.5, expected)


@pytest.mark.parametrize("method", EXACT)
def test_one_by_one_is_exact(method):
    values = np.array([1e-30, 1e-3, 1, 7, 1e30], "float32")
    actual = inverse_sqrt(values[:, None, None], 5, method)
    np.testing.assert_allclose(
        ops.convert_to_numpy(actual)[:, 0, 0],
        values.astype("float64") ** -0.5,
        rtol=3e-7,
    )


@each_method
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(method, value):
    """In the result, not as an error, and in no other matrix's."""
    matrix = spd(0, 3)
    expected = ORACLES[method](matrix[1].astype("float64"))
    matrix[0, 1, 2] = value
    actual = compiled(lambda a: inverse_sqrt(a, 5, method))(matrix)
    actual = ops.convert_to_numpy(actual)
    assert not np.isfinite(actual[0]).any()
    compare.assert_close(actual[1], expected)


@each_method
def test_gradient_in_a_batch_with_one_that_is_not_finite(method):
    matrix, upstream = spd(0, 3), spd(1, 3)
    broken = matrix.copy()
    broken[0, 1, 2] = np.nan
    expected, actual = (
        ops.convert_to_numpy(
            gradients.gradient(
                lambda a: inverse_sqrt(a, 5, method), value, upstream
            )
        )
        for value in (matrix, broken)
    )
    compare.assert_close(actual[1], expected[1])


@each_method
def test_any_leading_axes(method):
    matrix = spd(0, 3)
    expected = ops.convert_to_numpy(inverse_sqrt(matrix, 5, method))
    root = compiled(lambda a: inverse_sqrt(a, 5, method))
    alone, nested = root(matrix[0]), root(matrix[None])
    compare.assert_close(alone, expected[0])
    compare.assert_close(nested, expected[None])


def test_gains_of_minimax():
    """Those of five Newton-Schulz steps, from 15 % below to 10 % above."""
    values = np.geomspace(1e-6, 1, 400)
    matrix = np.zeros((len(values), 2, 2), "float32")
    matrix[:, 0, 0] = values
    matrix[:, 1, 1] = np.sqrt(1 - values**2)
    minimax, newton_schulz = (
        ops.convert_to_numpy(inverse_sqrt(matrix, 5, method))[:, 0, 0]
        for method in ("minimax", "newton_schulz")
    )
    ratio = minimax / newton_schulz
    assert ratio.min() == pytest.approx(0.854, abs=1e-3)
    assert ratio.max() == pytest.approx(1.097, abs=1e-3)
    damped = (values + 0.015) ** -0.5
    np.testing.assert_allclose(minimax, damped, rtol=0.065)
    np.testing.assert_allclose(newton_schulz, damped, rtol=0.11)


def test_unknown_method():
    with pytest.raises(
        ValueError,
        match=re.escape(
            "`method` must be one of ('newton_schulz', 'minimax', 'eigh'). "
            "Received: method='cholesky'"
        ),
    ):
        inverse_sqrt(spd(0, 3), 5, "cholesky")


def test_minimax_stands_for_five_steps():
    with pytest.raises(
        ValueError,
        match=r"`num_iterations` must be 5 .*Received: num_iterations=4$",
    ):
        inverse_sqrt(spd(0, 3), 4, "minimax")


@pytest.mark.parametrize("steps", [0, -1, True, 2.5])
def test_number_of_steps_out_of_range(steps):
    with pytest.raises(ValueError, match="`num_iterations`"):
        inverse_sqrt(spd(0, 3), steps)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 3, 2)])
def test_matrix_that_is_not_square(shape):
    with pytest.raises(ValueError, match="square"):
        inverse_sqrt(np.ones(shape, "float32"))


def test_matrix_of_whole_numbers():
    with pytest.raises(ValueError, match=r"floating-point.*dtype int32"):
        inverse_sqrt(np.eye(2, dtype="int32"))


def test_matrix_of_python_numbers():
    found = ops.convert_to_numpy(inverse_sqrt([[4.0, 0.0], [0.0, 4.0]], 15))
    compare.assert_close(found, np.eye(2) / 2)


@pytest.mark.parametrize(
    ("matrix", "num_iterations", "rule"),
    [
        (np.eye(2, dtype="float32"), 0, "`num_iterations` must be"),
        (np.ones((2, 3), "float32"), 5, "must be square"),
        (np.eye(2, dtype="int32"), 5, "floating-point"),
    ],
)
def test_pair_refuses_what_has_no_root(matrix, num_iterations, rule):
    with pytest.raises(ValueError, match=rule):
        sqrt_pair(matrix, num_iterations)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

import compare
import golden
import gradients
import oracle
import oracle_gradient
from keras_deconv.ops import inverse_sqrt
from keras_deconv.ops import sqrt_pair


def spd(seed, size, floor=0.1):
    """A batch of two positive definite matrices, condition about 1 / floor."""
    rng = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(rng.normal(size=(2, size, size)))
    values = rng.uniform(floor, 1, size=(2, 1, size))
    return (vectors * values @ np.swapaxes(vectors, 1, 2)).astype("float32")


@pytest.mark.parametrize("name", ["isqrt_iter5", "isqrt_iter15"])
def test_golden_values_and_gradients(name):
    case = golden.load(name)
    iterations = case["config"]["iterations"]
    actual = inverse_sqrt(case["a"], iterations)
    compare.assert_close(actual, case["isqrt"], golden.tolerance(case))
    grad = gradients.gradient(
        lambda a: inverse_sqrt(a, iterations), case["a"], case["upstream"]
    )
    compare.assert_close(grad, case["grad_a"], golden.tolerance(case))


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


def test_pair_shares_the_inverse_root():
    matrix = spd(0, 5)
    _, inverse = sqrt_pair(matrix, 4)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(inverse),
        ops.convert_to_numpy(inverse_sqrt(matrix, 4)),
    )


@pytest.mark.parametrize("num_iterations", [1, 2, 5, 15])
def test_takes_no_needless_product(monkeypatch, num_iterations):
    products = []
    matmul = ops.matmul
    monkeypatch.setattr(
        ops, "matmul", lambda a, b: products.append(1) or matmul(a, b)
    )
    inverse_sqrt(spd(0, 3), num_iterations)
    assert len(products) == 3 * num_iterations - 3


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

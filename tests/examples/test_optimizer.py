import importlib

import keras
import numpy as np
import pytest


@pytest.fixture
def optimizer():
    return importlib.import_module("_optimizer")


def test_decay_goes_through_the_momentum(optimizer, rng):
    start = rng.normal(size=4)
    gradients = rng.normal(size=(3, 4))
    variable = keras.Variable(start)
    sgd = optimizer.CoupledSGD(0.1, momentum=0.9, l2=0.5)
    weights, velocity = start.copy(), np.zeros(4)
    for gradient in gradients:
        sgd.apply(
            [keras.ops.convert_to_tensor(gradient, "float32")], [variable]
        )
        velocity = 0.9 * velocity - 0.1 * (gradient + 0.5 * weights)
        weights = weights + velocity
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(variable), weights, rtol=1e-5
    )


def test_cosine_ends_at_zero(optimizer):
    sgd = optimizer.cosine_sgd(0.2, 10, 1e-3)
    assert sgd.l2 == 1e-3
    rates = [
        float(keras.ops.convert_to_numpy(sgd._learning_rate(step)))
        for step in (0, 5, 10)
    ]
    np.testing.assert_allclose(rates, [0.2, 0.1, 0], atol=1e-7)


def test_polynomial(optimizer):
    sgd = optimizer.polynomial_sgd(0.2, 10, 0)
    rates = [
        float(keras.ops.convert_to_numpy(sgd._learning_rate(step)))
        for step in (0, 5, 10)
    ]
    np.testing.assert_allclose(rates, [0.2, 0.2 * 0.5**0.9, 0], atol=1e-6)


def test_config(optimizer):
    sgd = optimizer.CoupledSGD(0.1, momentum=0.8, l2=0.25)
    copy = optimizer.CoupledSGD.from_config(sgd.get_config())
    assert (copy.l2, copy.momentum) == (0.25, 0.8)

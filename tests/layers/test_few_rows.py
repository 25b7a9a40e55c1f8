"""Dense layers whose batch has far fewer rows than a D has features."""

import keras
import numpy as np
import pytest
from keras import ops

import compare
import gradients
import oracle
from authors import DeconvDense
from keras_deconv.ops import _few_rows

EPSILON = 1e-2


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """24 features are many enough."""
    monkeypatch.setattr(_few_rows, "_MANY", 24)


def make(**settings):
    settings = {"warmup_steps": 0} | settings
    layer = DeconvDense(3, epsilon=EPSILON, update_every=4, **settings)
    layer.build((None, 24))
    return layer


def whitened(layer, batch):
    """Returns outputs and D of a batch, in float64."""
    mean, deconv = oracle.statistics(
        batch.astype("float64"), 1, "contiguous", 5, EPSILON
    )
    kernel = ops.convert_to_numpy(layer.kernel)
    return (batch - mean[0]) @ deconv[0] @ kernel, deconv


def last(layer):
    (weight,) = (w for w in layer.weights if w.name == "batch_deconv")
    return ops.convert_to_numpy(weight)


@pytest.mark.parametrize("rows", [6, 7])
def test_same_as_by_features(rows, correlated):
    """Six rows are few for 24 features, and seven are not."""
    layer, batch = make(), correlated(rows, 24)
    outputs, deconv = whitened(layer, batch)
    compare.assert_close(layer(batch, training=True), outputs)
    compare.assert_close(last(layer), deconv)


def test_gradients(correlated, rng, monkeypatch):
    batch = correlated(6, 24)
    upstream = rng.normal(size=(6, 3)).astype("float32")
    layer = make()
    values = [ops.convert_to_numpy(weight) for weight in layer.weights]
    _, by_rows, _ = gradients.training_step(layer, batch, upstream)
    monkeypatch.setattr(_few_rows, "_MANY", 25)
    other = make()
    other.set_weights(values)
    _, by_features, _ = gradients.training_step(other, batch, upstream)
    compare.assert_close(by_rows, by_features, 1e-4)


def test_blocks_that_share_a_d_give_it_their_rows(correlated):
    """Two blocks of 24, of three images each: six rows."""
    batch = correlated(6, 48)[:4]
    few, many = (
        DeconvDense(2, block_size=24, epsilon=EPSILON, update_every=4)
        for _ in range(2)
    )
    for layer, rows, is_few in ((few, 3, True), (many, 4, False)):
        layer.build((None, 48))
        found = layer._statistics.batch.has_few_rows(
            ops.convert_to_tensor(batch[:rows])
        )
        assert found is is_few


@pytest.mark.parametrize("method", ["minimax", "eigh"])
def test_other_methods_take_the_covariance(method, correlated):
    batch = ops.convert_to_tensor(correlated(6, 24))
    layer = make(method=method)
    assert layer._statistics.batch.has_few_rows(batch) is False


def test_fit_with_a_small_last_batch(correlated):
    """TensorFlow knows no batch size here, and takes either way at a step."""
    layer = make(warmup_steps=2)
    model = keras.Sequential([keras.Input((24,)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    inputs = correlated(15, 24)
    model.fit(
        inputs, np.zeros((15, 3)), batch_size=10, shuffle=False, verbose=0
    )
    compare.assert_close(last(layer), whitened(layer, inputs[10:])[1])

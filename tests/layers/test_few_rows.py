"""Dense layers whose batch has far fewer rows than a D has features."""

import keras
import numpy as np
import pytest
from keras import ops

import compare
import oracle
from authors import DeconvDense
from keras_deconv.ops import _few_rows

EPSILON = 1e-2


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """24 features are many enough."""
    monkeypatch.setattr(_few_rows, "_MANY", 24)


def make(**settings):
    layer = DeconvDense(
        3, epsilon=EPSILON, update_every=4, warmup_steps=0, **settings
    )
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


def test_d_is_new_on_every_step(correlated):
    layer = make()
    for batch in correlated(3 * 6, 24).reshape(3, 6, 24):
        outputs, deconv = whitened(layer, batch)
        compare.assert_close(layer(batch, training=True), outputs)
        compare.assert_close(last(layer), deconv)


def test_d_is_as_old_as_ever_of_more_rows(correlated):
    layer = make()
    first, second = correlated(2 * 7, 24).reshape(2, 7, 24)
    layer(first, training=True)
    layer(second, training=True)
    compare.assert_close(last(layer), whitened(layer, first)[1])


def test_d_of_a_frozen_layer_stays(correlated):
    layer = make(freeze_after=1)
    first, second = correlated(2 * 6, 24).reshape(2, 6, 24)
    layer(first, training=True)
    before = last(layer)
    layer(second, training=True)
    assert np.array_equal(last(layer), before)


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
    layer = make()
    model = keras.Sequential([keras.Input((24,)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    inputs = correlated(15, 24)
    model.fit(
        inputs, np.zeros((15, 3)), batch_size=10, shuffle=False, verbose=0
    )
    compare.assert_close(last(layer), whitened(layer, inputs[10:])[1])

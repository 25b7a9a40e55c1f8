import keras
import numpy as np
import pytest

import keras_deconv
from family import values
from keras_deconv.layers import Whiteness
from keras_deconv.layers import condition_number
from keras_deconv.layers import deconv_layers
from keras_deconv.layers import measure_whiteness


def rotated(eigenvalues, rng):
    """Returns a symmetric matrix with these eigenvalues."""
    vectors, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))
    return vectors @ np.diag(eigenvalues) @ vectors.T


def test_condition_number_is_that_of_the_worst(rng):
    matrices = np.stack([rotated([1, 5, 20], rng), rotated([2, 3, 4], rng)])
    assert condition_number(matrices) == pytest.approx(20)


def test_condition_number_at_the_edges():
    assert condition_number(np.ones((1, 2, 2)) * np.nan) != condition_number(
        np.eye(2)[None]
    )
    assert np.isnan(condition_number(np.full((1, 2, 2), np.inf)))
    assert condition_number(np.diag([1.0, 0.0])[None]) == np.inf


def test_distance_is_that_of_the_eigenvalues(rng):
    covariance = np.stack([rotated([1.5, 1], rng), rotated([0.2, 4], rng)])
    found = Whiteness("", "", covariance, np.stack([np.eye(2)] * 2))
    expected = np.sqrt(np.mean(np.square([0.5, 0, -0.8, 3])))
    assert found.distance == pytest.approx(expected)
    assert found.condition == pytest.approx(20)


def test_exact_root_leaves_no_distance(correlated):
    layer = keras_deconv.DeconvDense(2, method="eigh", momentum=0.0)
    inputs = correlated(64, 5)
    layer(inputs, training=True)
    (found,) = measure_whiteness(layer, inputs)
    assert found.distance < 1e-3
    np.testing.assert_allclose(found.whitened[0], np.eye(5), atol=1e-3)


def test_nested_models_and_both_halves_have_names(correlated):
    inner = keras.Sequential(
        [
            keras.Input((6, 2)),
            keras_deconv.DeconvSeparableConv1D(3, 2, name="sep"),
        ],
        name="inner",
    )
    model = keras.Sequential(
        [
            keras.Input((6, 2)),
            keras.layers.Activation("relu"),
            inner,
            keras.layers.Flatten(),
            keras_deconv.DeconvDense(2, name="head"),
        ]
    )
    found = measure_whiteness(model, correlated(8, 6, 2))
    names = [(each.name, each.prefix) for each in found]
    assert names == [
        ("inner/sep", ""),
        ("inner/sep", "pointwise_"),
        ("head", ""),
    ]
    # Depthwise: a D for each of two channels; pointwise: one.
    assert [each.covariance.shape for each in found][:2] == [
        (2, 2, 2),
        (1, 2, 2),
    ]


def test_shared_layer_has_matrices_of_every_call(correlated):
    shared = keras_deconv.DeconvDense(3, name="shared")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert [name for name, _ in deconv_layers(model)] == ["shared"]
    (found,) = measure_whiteness(model, correlated(9, 3))
    assert found.covariance.shape == found.deconv.shape == (2, 3, 3)


def test_state_is_left_alone(correlated):
    inputs = correlated(8, 4)
    layer = keras_deconv.DeconvDense(2)
    layer(inputs, training=True)
    before = values(layer.variables)
    measure_whiteness(layer, 2 * inputs)
    for old, new in zip(before, values(layer.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(each.observer is None for each in layer.all_statistics())


def test_observers_are_taken_off_after_an_error(correlated):
    layer = keras_deconv.DeconvDense(2)
    layer.build((None, 4))
    with pytest.raises(ValueError, match="incompatible"):
        measure_whiteness(layer, correlated(8, 3))
    assert all(each.observer is None for each in layer.all_statistics())

"""Files keep the statistics, from one backend to another too."""

import pathlib

import keras
import numpy as np
import pytest

import compare
import family
import saved_model

FOLDER = pathlib.Path(__file__).parent.parent / "data" / "models"


@pytest.fixture
def trained():
    model = saved_model.make()
    saved_model.train(model)
    return model


def assert_same_weights(model, other):
    for mine, theirs in zip(model.weights, other.weights, strict=True):
        assert mine.name == theirs.name
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(mine), keras.ops.convert_to_numpy(theirs)
        )


def test_model_file_keeps_every_weight(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    assert_same_weights(
        keras.models.load_model(tmp_path / "model.keras"), trained
    )


def test_weights_file_keeps_every_weight(trained, tmp_path):
    trained.save_weights(tmp_path / "model.weights.h5")
    other = saved_model.make()
    saved_model.train(other)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same_weights(other, trained)


def test_training_goes_on_after_loading(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    saved_model.train(trained)
    saved_model.train(loaded)
    for mine, theirs in zip(loaded.weights, trained.weights, strict=True):
        compare.assert_close(mine, keras.ops.convert_to_numpy(theirs))


def test_weights_of_another_layer_are_refused(tmp_path):
    plain = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv")]
    )
    plain.save_weights(tmp_path / "plain.weights.h5")
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), saved_model.first_layer()]
    )
    with pytest.raises(ValueError, match="expected 7 variables"):
        model.load_weights(tmp_path / "plain.weights.h5")


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_file_of_another_backend_predicts_the_same(backend):
    model = keras.models.load_model(FOLDER / f"{backend}.keras", compile=False)
    with np.load(FOLDER / f"{backend}.npz") as arrays:
        predictions = model.predict(saved_model.images(), verbose=0)
        compare.assert_close(predictions, arrays["predictions"])
        compare.assert_close(
            model.get_layer("conv").moving_deconv, arrays["moving_deconv"], 0
        )


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_every_layer_reads_a_file_of_another_backend(backend):
    file = FOLDER / f"family_{backend}.keras"
    model = keras.models.load_model(file, compile=False)
    with np.load(file.with_suffix(".npz")) as arrays:
        inputs = {name: arrays[f"input/{name}"] for name in model.input}
        predictions = model.predict(inputs, verbose=0)
        assert predictions.keys() >= family.MEMBERS.keys()
        for name, prediction in predictions.items():
            compare.assert_close(prediction, arrays[f"output/{name}"])

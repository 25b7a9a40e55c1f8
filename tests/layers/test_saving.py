"""Files keep the statistics, from one backend to another too."""

import io
import json
import pathlib
import subprocess
import sys
import textwrap
import zipfile

import h5py
import keras
import numpy as np
import pytest

import compare
import family
import saved_model

BACKEND = keras.backend.backend()
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
    with pytest.raises(ValueError, match="expected 8 variables"):
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


def damaged(tmp_path, change):
    """Returns a model file whose bytes have been changed."""
    path = tmp_path / "damaged.keras"
    path.write_bytes(change((FOLDER / f"{BACKEND}.keras").read_bytes()))
    return path


def test_truncated_file_is_refused(tmp_path):
    path = damaged(tmp_path, lambda data: data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"accessible `\.keras` zip file"):
        keras.models.load_model(path)


def test_changed_bytes_are_noticed(tmp_path):
    def change(data):
        middle = len(data) // 2
        changed = bytes(byte ^ 255 for byte in data[middle : middle + 9])
        return data[:middle] + changed + data[middle + 9 :]

    # Whether Keras passes it on as it is depends on where it meets it.
    with pytest.raises((zipfile.BadZipFile, ValueError), match="Bad CRC-32"):
        keras.models.load_model(damaged(tmp_path, change))


def test_truncated_weights_are_refused(trained, tmp_path):
    path = tmp_path / "model.weights.h5"
    trained.save_weights(path)
    path.write_bytes(path.read_bytes()[:-999])
    with pytest.raises(OSError, match="truncated file"):
        trained.load_weights(path)


def with_config(tmp_path, change):
    """Returns a model file whose first deconv layer has another config."""
    path = tmp_path / "changed.keras"
    with (
        zipfile.ZipFile(FOLDER / f"{BACKEND}.keras") as source,
        zipfile.ZipFile(path, "w") as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config["config"]["layers"][1]["config"])
                content = json.dumps(config)
            target.writestr(name, content)
    return path


def test_setting_of_a_newer_version_is_named(tmp_path):
    path = with_config(tmp_path, lambda config: config.update(shrinkage=0.1))
    with pytest.raises((TypeError, ValueError), match=r"'shrinkage': 0\.1"):
        keras.models.load_model(path, compile=False)


def test_setting_that_an_older_version_lacked_gets_its_default(tmp_path):
    path = with_config(tmp_path, lambda config: config.pop("differentiate"))
    model = keras.models.load_model(path, compile=False)
    assert model.get_layer("conv").differentiate
    with np.load(FOLDER / f"{BACKEND}.npz") as arrays:
        predictions = model.predict(saved_model.images(), verbose=0)
        compare.assert_close(predictions, arrays["predictions"])


@pytest.mark.parametrize(
    "name", [f"{BACKEND}.keras", f"family_{BACKEND}.keras"]
)
def test_files_hold_nothing_but_settings_and_numbers(name):
    with zipfile.ZipFile(FOLDER / name) as file:
        assert set(file.namelist()) == {
            "metadata.json",
            "config.json",
            "model.weights.h5",
        }
        config = file.read("config.json").decode("utf-8")
        weights = io.BytesIO(file.read("model.weights.h5"))
    json.loads(config)
    # What Keras serializes as code, or as a pickle.
    for suspect in ("Lambda", "__lambda__", "pickle", "marshal"):
        assert suspect not in config
    kinds = set()
    with h5py.File(weights) as tree:
        tree.visititems(
            lambda _, item: (
                kinds.add(item.dtype.kind)
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    assert kinds <= set("iuf")


def test_fresh_process_loads_in_safe_mode():
    code = f"""
        import keras
        import keras_deconv
        model = keras.models.load_model({str(FOLDER / BACKEND)!r} + ".keras")
        print(model.get_layer("conv").moving_deconv.shape)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=FOLDER.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(1, 27, 27)"

import importlib
import json

import keras
import numpy as np
import pytest

import authors
import compare

SETTINGS = {
    "model": "tiny",
    "preset": None,
    "side": 8,
    "steps": 3,
    "batch_size": 4,
    "learning_rate": 0.01,
    "seed": 0,
    "dtype": "float32",
    "data_dir": None,
}


@pytest.fixture
def worker():
    return importlib.import_module("_one_backend")


@pytest.fixture
def comparison():
    return importlib.import_module("compare_backends")


def tiny():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            authors.DeconvConv2D(4, 3),
            keras.layers.Dropout(0.5),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )


def made_up(worker, factor=1.0):
    """What a backend has computed, `factor` times what it should."""
    values = np.arange(1.0, 7.0) * factor
    return worker.Computed(
        version="1",
        device="cpu",
        names=["kernel", "bias"],
        logits=values.reshape(2, 3),
        gradients=[values, np.full(2, 1e-9) * factor**2],
        first_statistics=[values],
        last_statistics=[values, np.zeros(2)],
        losses=np.array([2.0, 1.0]) * factor,
        seconds=np.array([9.0, 8.0, 1.0, 3.0, 2.0]),
        cpu_seconds=np.ones(5),
        peak=3.0,
    )


def test_differences_are_relative_to_the_first(worker, comparison):
    first, other = made_up(worker), made_up(worker, 1.001)
    records = comparison.compare({"torch": first, "jax": other})
    assert [record["backend"] for record in records] == ["torch", "jax"]
    assert records[0]["seconds per step"] == 2.0
    # The second gradient is nought but for rounding, so that its own does
    # not count.
    expected = dict.fromkeys(comparison.TARGETS, 1e-3)
    expected |= dict.fromkeys(
        ("statistics, one step", "statistics, last step", comparison.WORST),
        1e-3,
    )
    assert comparison.TARGETS.keys() < expected.keys()
    for name, value in expected.items():
        assert name not in records[0]
        assert records[1][name] == pytest.approx(value)


def test_what_misses_its_target_is_marked(comparison):
    assert comparison.show(2e-5, 1e-5) == "2e-05 !"
    assert comparison.show(1e-6, 1e-5) == "1e-06"
    assert comparison.show(2.0, None) == "2"


def test_results_are_read_as_they_were_written(worker, tmp_path):
    computed = made_up(worker)
    worker.write(tmp_path, computed)
    (path,) = tmp_path.iterdir()
    for mine, other in zip(worker.read(path), computed, strict=True):
        np.testing.assert_equal(mine, other)


def test_unknown_model_is_refused(worker):
    with pytest.raises(ValueError, match=r"resnet18.*'keras-cv/Nothing'"):
        worker.make_model("keras-cv/Nothing", None, 32)
    with pytest.raises(ValueError, match="got 'resnet19'"):
        worker.make_model("resnet19", None, 32)


def test_pooling_is_that_of_keras(worker, rng):
    inputs = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    for settings in ({}, {"keepdims": True}):
        layer = keras.layers.GlobalAveragePooling2D(**settings)
        compare.assert_close(worker.pool(layer, inputs), layer(inputs), 1e-6)


def test_images_of_another_size(worker, rng):
    images = rng.normal(size=(2, 4, 4, 3))
    np.testing.assert_array_equal(
        worker.resized(images, (2, 2, 3)), images[:, ::2, ::2]
    )
    larger = worker.resized(images, (8, 8, 3))
    np.testing.assert_array_equal(larger[:, 1::2, ::2], images)


@pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="gradients of convolutions are slow in JAX on a CPU",
)
def test_a_backend_agrees_with_itself(
    worker, comparison, tmp_path, monkeypatch
):
    """The second run reads the weights of the first, and sees its batches."""
    monkeypatch.setattr(worker, "make_model", lambda *_: tiny())

    def compute(seed):
        keras.utils.set_random_seed(seed)
        computed = worker.compute(tmp_path, {**SETTINGS, "seed": seed})
        worker.write(tmp_path, computed)
        return worker.read(tmp_path / f"{keras.backend.backend()}.npz")

    first, second, other = compute(0), compute(0), compute(1)
    assert len(first.losses) == 3
    assert first.logits.shape == (4, 10)
    assert len(first.gradients) == len(first.names) == 4
    found = comparison.differences(second, first)
    assert max(found.values()) < 1e-5, found
    # Other batches: a comparison that saw nothing would find these equal.
    assert comparison.differences(other, first)["outputs"] > 0.1


def test_files_of_a_comparison(worker, comparison, tmp_path, monkeypatch):
    computed = {"torch": made_up(worker), "jax": made_up(worker, 1.001)}
    monkeypatch.setattr(comparison, "run_all", lambda *_: computed)
    output = tmp_path / "new" / "name.json"
    comparison.main(["--steps", "2", "--output", str(output)])
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    curves = json.loads(output.with_name("name_losses.json").read_text())
    assert curves["records"] == [
        {"step": 1, "torch": 2.0, "jax": 2.002},
        {"step": 2, "torch": 1.0, "jax": 1.001},
    ]
    assert "--steps 2" in json.loads(output.read_text())["command"]

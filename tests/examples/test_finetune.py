import csv
import importlib

import keras
import numpy as np
import pytest


@pytest.fixture
def script():
    return importlib.import_module("finetune")


@pytest.fixture
def data_dir(tmp_path, rng):
    np.savez(
        tmp_path / "mnist.npz",
        x_train=rng.integers(0, 256, (40, 8, 8), np.uint8),
        y_train=np.arange(40) % 10,
        x_test=rng.integers(0, 256, (20, 8, 8), np.uint8),
        y_test=rng.integers(0, 10, 20),
    )
    return tmp_path


def words(data_dir, *more):
    return [
        *("--dataset", "mnist", "--data-dir", str(data_dir)),
        *("--output", str(data_dir / "results"), "--batch-size", "8"),
        *("--epochs", "1", "--fine-tuning-rates", "0.01", "--widths", "4"),
        *more,
    ]


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="a smoke test on one backend; others run other examples",
)
def test_finetune(script, data_dir, capsys):
    script.main(words(data_dir))
    path = data_dir / "results" / "results.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["experiment"], row["norm"]) for row in rows] == [
        ("before finetune", "batch"),
        ("finetune", "batch"),
        ("finetune", "deconv"),
    ]
    printed = capsys.readouterr().out
    assert "batch normalization" in printed
    assert "deconvolved twin" in printed
    script.main(words(data_dir))
    assert path.read_text().count("\n") == 4

    (saved,) = (data_dir / "results").glob("*.keras")
    script.main(words(data_dir, "--model", str(saved)))
    assert path.read_text().count("\n") == 6


def test_twin_predicts_what_the_network_predicts(correlated):
    convert = importlib.import_module("_finetune").convert
    network = importlib.import_module("_network").build_network(
        (8, 8, 3), 5, (4,)
    )
    images = correlated(24, 8, 8, 3)
    twin = convert(network, images, 16, seed=0)
    expected = network.predict(images, verbose=0)
    found = twin.predict(images, verbose=0)
    np.testing.assert_allclose(
        found, expected, atol=1e-4 * np.abs(expected).max()
    )


def test_network_that_does_not_fit(script, data_dir, capsys):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(7),
        ]
    )
    model.save(data_dir / "seven.keras")
    with pytest.raises(SystemExit):
        script.main(words(data_dir, "--model", str(data_dir / "seven.keras")))
    assert "Received: (8, 8, 1) to (7,)" in capsys.readouterr().err

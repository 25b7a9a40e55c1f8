"""The experiments of the paper's figures, each on one backend."""

import csv
import importlib
import json

import keras
import numpy as np
import pytest


def only_on(backend):
    return pytest.mark.skipif(
        keras.backend.backend() != backend,
        reason=f"a smoke test, run on {backend} alone",
    )


@pytest.fixture
def data_dir(tmp_path, rng):
    """A folder of tiny archives; images are smooth."""

    def make(count, *shape):
        noise = rng.integers(0, 120, (count, *shape))
        return (noise + np.roll(noise, 1, 1)).astype("uint8")

    for name, shape in {
        "mnist": (8, 8),
        "fashion_mnist": (8, 8),
        "cifar10": (16, 16, 3),
    }.items():
        np.savez(
            tmp_path / f"{name}.npz",
            x_train=make(60, *shape),
            y_train=rng.integers(0, 10, 60),
            x_test=make(10, *shape),
            y_test=rng.integers(0, 10, 10),
        )
    return tmp_path


def run(name, data_dir, *arguments):
    """Runs a script and returns its folder of results."""
    output = data_dir / "new" / name
    importlib.import_module(name).main(
        ["--data-dir", str(data_dir), "--output", str(output), *arguments]
    )
    for path in output.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    said = json.loads((output / "run.json").read_text("utf-8"))["command"]
    assert said.startswith(
        f"python examples/{name}.py --data-dir DIR --output DIR"
    )
    return output


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@only_on("torch")
def test_linear_regression(data_dir, capsys):
    output = run(
        "linear_regression",
        data_dir,
        *("--steps", "3", "--batch-size", "20"),
        *("--learning-rates", "0.02", "--seeds", "0", "1"),
    )
    rows = read(output / "training.csv")
    # Two losses, two networks, two seeds, three steps.
    assert len(rows) == 24
    assert {row["objective"] for row in rows} == {"L2", "logistic"}
    losses = [
        float(row["loss"])
        for row in rows
        if row["network"] == "network deconvolution" and row["seed"] == "0"
    ]
    assert losses[2] < losses[0]
    assert (output / "linear_regression.png").exists()
    printed = capsys.readouterr().out
    assert printed.count("network deconvolution") >= 2


@only_on("torch")
def test_losses_of_a_linear_layer(data_dir):
    """One run against gradient descent in NumPy."""
    script = importlib.import_module("linear_regression")
    convergence = importlib.import_module("_convergence")
    training = importlib.import_module("_training")
    data = script.flat_pixels(
        importlib.import_module("_datasets").load("mnist", data_dir)
    )
    assert data.x_train.min() == 0
    assert data.x_train.max() == 1
    model = script.plain_layer(64)
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    (trace,) = convergence.train_all(
        data,
        [convergence.Method("plain", 0.05, lambda: model)],
        {"L2": keras.losses.MeanSquaredError},
        seeds=[3],
        steps=3,
        batch_size=10,
    )
    order, bias, losses = training.batches(60, 10, 3), np.zeros(10), []
    for _ in range(3):
        picks = next(order)
        x, targets = data.x_train[picks], np.eye(10)[data.y_train[picks]]
        error = x @ kernel + bias - targets
        losses.append(np.mean(error**2))
        kernel = kernel - 0.05 * 2 / error.size * x.T @ error
        bias = bias - 0.05 * 2 / error.size * error.sum(0)
    np.testing.assert_allclose(trace.losses, losses, rtol=1e-4)
    outputs = data.x_test @ kernel + bias
    error = outputs - np.eye(10)[data.y_test]
    assert trace.test_losses[-1] == pytest.approx(np.mean(error**2), rel=1e-4)
    correct = np.argmax(outputs, axis=1) == data.y_test
    assert trace.accuracies[-1] == pytest.approx(correct.mean())


@only_on("tensorflow")
def test_mlp(data_dir, capsys):
    output = run(
        "mlp",
        data_dir,
        *("--steps", "2", "--batch-size", "16"),
        *("--learning-rates", "0.1"),
    )
    rows = read(output / "test.csv")
    networks = ["plain", "batch normalization", "network deconvolution"]
    assert [row["network"] for row in rows] == [
        name for name in networks for _ in range(2)
    ]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert (output / "mlp.png").exists()
    assert "network deconvolution" in capsys.readouterr().out


def test_best_rate_is_that_of_the_lowest_test_loss():
    convergence = importlib.import_module("_convergence")
    report = importlib.import_module("_convergence_report")

    def trace(rate, seed, loss):
        method = convergence.Method("plain", rate, keras.Sequential)
        return convergence.Trace("L2", method, seed, [loss], [1], [loss], [0.5])

    traces = [
        trace(0.1, 0, 2.0),
        trace(0.1, 1, 3.0),
        trace(0.2, 0, 1.0),
        trace(0.2, 1, 2.5),
        trace(0.3, 0, 0.1),
        trace(0.3, 1, float("nan")),
    ]
    assert report.best_of_each(traces) == traces[2:4]


@only_on("jax")
def test_newton_schulz(tmp_path, capsys):
    script = importlib.import_module("newton_schulz")
    script.main(["--images", "100", "--output", str(tmp_path)])
    rows = read(tmp_path / "errors.csv")
    assert len(rows) == 30
    coupled, plain, exact = (
        np.array([float(row[name]) for row in rows])
        for name in (script.COUPLED, script.PLAIN, script.EXACT)
    )
    # The same up to rounding, which then grows.
    np.testing.assert_allclose(plain[:3], coupled[:3], rtol=1e-3)
    np.testing.assert_allclose(exact[:5], coupled[:5], rtol=1e-3)
    assert coupled[-1] < 0.02
    assert not plain[-1] < 1
    assert "27 pixels" in capsys.readouterr().out
    assert (tmp_path / "newton_schulz.png").exists()


@only_on("torch")
def test_kernels_and_sparsity(data_dir, capsys):
    output = run(
        "kernels_and_sparsity",
        data_dir,
        *("--dataset", "cifar10", "--images", "50", "--kernel-size", "5"),
        *("--steps", "2", "--batch-size", "8"),
    )
    assert {path.name for path in output.glob("*.png")} == {
        "conditions.png",
        "covariance.png",
        "densities.png",
        "hidden.png",
        "hidden_densities.png",
        "images.png",
        "kernels.png",
        "spectra.png",
    }
    before, after = (
        float(read(output / "numbers.csv")[0][key])
        for key in ("before", "after")
    )
    assert after < before
    assert "pixels, condition" in capsys.readouterr().out


@only_on("torch")
def test_deconvolved_images_are_white(data_dir):
    script = importlib.import_module("kernels_and_sparsity")
    data = importlib.import_module("_datasets").load("cifar10", data_dir)
    layer = script.image_whitener(data.x_train, 3, 15)
    # The inside of images, which no border reaches.
    whitened = script.whiten(layer, data.x_train)[:, 1:-1, 1:-1]
    pixels = whitened.reshape(-1, 3)
    np.testing.assert_allclose(np.cov(pixels.T), np.eye(3), atol=0.15)
    # Neighbours are the centres of two patches, each white by itself, so
    # what they have in common does not vanish altogether.
    before, after = (
        np.mean(x[:, 1:] * x[:, :-1]) for x in (data.x_train, whitened)
    )
    assert before > 0.4
    assert abs(after) < 0.1
    assert whitened.shape == (60, 14, 14, 3)


@pytest.mark.parametrize("name", ["linear_regression", "mlp", "newton_schulz"])
def test_wrong_arguments(name, tmp_path, capsys):
    script = importlib.import_module(name)
    with pytest.raises(SystemExit):
        script.main(["--data-dir", str(tmp_path)])
    message = capsys.readouterr().err
    assert "must hold" in message or "is embedded" in message


def test_kurtosis():
    script = importlib.import_module("kernels_and_sparsity")
    # Of one in four, and zeros: p (1 - p) has 1 / p (1 - p) - 6.
    expected = 16 / 3 - 6
    assert script.kurtosis(np.array([0, 0, 0, 1.0])) == pytest.approx(expected)

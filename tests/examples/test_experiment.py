import csv
import importlib

import keras
import numpy as np
import pytest


@pytest.fixture
def experiment():
    return importlib.import_module("_experiment")


@pytest.fixture
def runs():
    return importlib.import_module("_runs")


@pytest.fixture
def spec(experiment):
    """Returns a function: changed fields to an experiment."""

    def make(**changes):
        fields = {
            "experiment": "table 1",
            "network": "tiny",
            "dataset": "noise",
            "norm": "batch",
            "preset": None,
            "epochs": 2,
            "batch_size": 8,
            "learning_rate": 0.1,
            "weight_decay": 0.01,
            "seed": 3,
        }
        return experiment.Experiment(**{**fields, **changes})

    return make


@pytest.fixture
def task(runs, rng):
    """Returns a function: an experiment to what it trains."""
    batches = importlib.import_module("_batches")
    x = rng.normal(size=(32, 6)).astype("float32")
    y = (x[:, 0] > 0).astype("int32")

    def build():
        return keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(5, use_bias=False),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.2),
                keras.layers.Dense(2),
            ]
        )

    def make_batch(picks, rng):
        noise = rng.normal(0, 0.1, (len(picks), 6)).astype("float32")
        return x[picks] + noise, y[picks]

    def make(spec):
        return runs.Task(
            build,
            batches.Batches(make_batch, 32, spec.batch_size, seed=spec.seed),
            batches.Batches(lambda picks, rng: (x[picks], y[picks]), 32, 16),
        )

    return make


def kill_at(monkeypatch, task, epoch):
    """Makes a run end like a killed one: nothing is closed or saved."""
    start = task.train.start_epoch

    def start_epoch(number):
        if number == epoch:
            raise KeyboardInterrupt
        start(number)

    monkeypatch.setattr(task.train, "start_epoch", start_epoch)


def run(runs, spec, task, output):
    (row,) = runs.run_all([(spec, task)], lambda spec: "do it", output)
    return row


def log(output):
    (path,) = output.glob("*/log.csv")
    with path.open() as file:
        return [
            {
                key: float(value)
                for key, value in row.items()
                if key != "seconds"
            }
            for row in csv.DictReader(file)
        ]


# What a kill leaves open is closed by no one.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_killed_run_goes_on(runs, spec, task, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(runs, spec(), task(spec()), whole)

    killed = task(spec())
    kill_at(monkeypatch, killed, 1)
    with pytest.raises(KeyboardInterrupt):
        run(runs, spec(), killed, parts)
    assert not (parts / "results.csv").exists()
    assert [row["epoch"] for row in log(parts)] == [0]

    row = run(runs, spec(), task(spec()), parts)
    assert [row["epoch"] for row in log(parts)] == [0, 1]
    with (parts / "results.csv").open() as file:
        assert list(csv.DictReader(file)) == [row]
    # Momentum, schedule, order, noise and dropout go on as if nothing was.
    for found, expected in zip(log(parts), log(whole), strict=True):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert not list(parts.glob("*/backup"))


def test_kill_before_the_line(runs, spec, task, tmp_path, monkeypatch):
    records = importlib.import_module("_records")
    short = spec(epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(records, "append", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(runs, short, task(short), tmp_path)
    before = log(tmp_path)
    row = run(runs, short, task(short), tmp_path)
    # Nothing is trained again.
    assert log(tmp_path) == before
    assert float(row["train loss"]) == pytest.approx(
        before[-1]["loss"], rel=1e-5
    )


def test_line(runs, spec, task, tmp_path):
    row = run(runs, spec(), task(spec()), tmp_path)
    # A finished run is not run again.
    assert run(runs, spec(), runs.Task(None, None, None), tmp_path) == row
    epochs = log(tmp_path)
    assert row["experiment"] == "table 1"
    assert row["batch size"] == "8"
    assert row["learning rate"] == "0.1"
    assert row["preset"] == ""
    assert row["backend"] == keras.backend.backend()
    assert row["command"] == "do it"
    assert row["diverged"] == "no"
    assert float(row["seconds"]) > 0
    assert f"keras {keras.__version__}" in row["versions"]
    accuracies = [epoch["val_accuracy"] for epoch in epochs]
    assert float(row["final test accuracy"]) == pytest.approx(accuracies[-1])
    assert float(row["best test accuracy"]) == pytest.approx(max(accuracies))
    assert float(row["train loss"]) == pytest.approx(
        epochs[-1]["loss"], rel=1e-5
    )


def test_other_settings_are_another_run(runs, spec, task, tmp_path):
    changes = [{}, {"seed": 4}, {"steps_per_epoch": 2}, {"epsilon": 0.01}]
    names = {spec(**change).folder_name() for change in changes}
    assert len(names) == len(changes)
    records = importlib.import_module("_records")
    records.append(tmp_path / "results.csv", spec().columns())
    for change in changes[1:]:
        columns = spec(**change).columns()
        assert records.find(tmp_path / "results.csv", columns) is None


def test_diverged_run_ends(runs, spec, task, tmp_path):
    row = run(
        runs,
        spec(learning_rate=1e30),
        task(spec()),
        tmp_path,
    )
    assert row["diverged"] == "yes"
    assert len(log(tmp_path)) < 2


def test_precision_is_that_of_the_run_alone(runs, spec, task, tmp_path):
    made = task(spec())

    def build():
        dtype = made.build().layers[0].compute_dtype
        raise RuntimeError(f"built in {dtype}")

    half = spec(precision="bfloat16")
    with pytest.raises(RuntimeError, match="built in bfloat16"):
        run(runs, half, runs.Task(build, made.train, made.test), tmp_path)
    assert keras.config.dtype_policy().name == "float32"


def test_deconvolved(experiment, spec):
    deconv = importlib.import_module("keras_deconv")
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    assert experiment.deconvolved(network, spec()) is network
    twin = experiment.deconvolved(
        network,
        spec(norm="deconv", preset="paper", num_iterations=2, epsilon=0.01),
        rules=[(keras.layers.Dense, {"block_size": 32})],
    )
    conv, _, dense = twin.layers
    assert isinstance(conv, deconv.DeconvConv2D)
    assert (conv.num_iterations, conv.epsilon) == (2, 0.01)
    assert (conv.block_size, dense.block_size) == (64, 32)


def test_text(experiment):
    values = [None, True, False, 0.1, 1e-5, 12, "a", np.float64(0.25).item()]
    assert [experiment.text(value) for value in values] == [
        "",
        "yes",
        "no",
        "0.1",
        "1e-05",
        "12",
        "a",
        "0.25",
    ]


def test_batches_are_made_once_and_in_their_order(runs, spec, task, tmp_path):
    made = task(spec())
    given = []
    make = made.train._make

    def make_and_note(picks, rng):
        given.append(tuple(picks))
        return make(picks, rng)

    made.train._make = make_and_note
    run(runs, spec(), made, tmp_path)
    steps = spec().epochs * len(made.train)
    assert len(set(given)) == steps
    # Before, Keras looks at one or two of them.
    assert len(set(given[-steps:])) == steps

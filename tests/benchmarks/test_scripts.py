"""Every benchmark runs, on one backend, with little to do."""

import importlib
import json
from typing import NamedTuple

import keras
import numpy as np
import pytest


class Script(NamedTuple):
    """A script, what it is run with, and how many records it makes."""

    name: str
    backend: str
    arguments: str
    records: int


on_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="tested on torch"
)

SMALL = "--network small --batch-size 2 --rounds 1"
SCRIPTS = (
    Script("inference", "jax", SMALL, 7),
    Script("training_step", "torch", SMALL, 5),
    Script("step_parts", "torch", SMALL, 7),
    Script("operations", "torch", "--network small --batch-size 2", 4),
    Script("scaling", "torch", "--axes kernel --largest 1 --rounds 1", 3),
    Script("guard", "tensorflow", "--batch-size 2 --rounds 1", 3),
    Script(
        "layer_breakdown",
        "torch",
        "--network vgg11 --preset fast --batch-size 1 --rounds 1",
        7,
    ),
    Script("ridge", "jax", "--channels 1", 6),
    Script(
        "stability",
        "torch",
        "--data-dir {data} --backbones CSPDarkNet --presets fast "
        "--steps 2 --batch-size 2",
        2,
    ),
    Script(
        "time_to_accuracy",
        "torch",
        "--data-dir {data} --epochs 1 --batch-size 8 --batch-norm-rates 0.1 "
        "--presets fast --evaluations 1",
        2,
    ),
    Script(
        "warm_start",
        "torch",
        "--data-dir {data} --epochs 1 --batch-size 8 --fine-tuning-rates 0.1",
        2,
    ),
)


@pytest.fixture
def data(tmp_path, rng):
    """Returns a folder with a few images of each set that is asked for."""
    for name, shape in (("cifar10", (32, 32, 3)), ("fashion_mnist", (28, 28))):
        np.savez(
            tmp_path / f"{name}.npz",
            x_train=rng.integers(0, 256, (16, *shape), np.uint8),
            y_train=np.arange(16, dtype=np.uint8) % 10,
            x_test=rng.integers(0, 256, (10, *shape), np.uint8),
            y_test=np.arange(10, dtype=np.uint8),
        )
    return tmp_path


@pytest.fixture
def run(data, monkeypatch):
    """Returns a function that runs a script, and returns its records."""

    def run(name, arguments):
        output = data / "found.json"
        words = arguments.format(data=data).split()
        monkeypatch.setattr("sys.argv", [name, *words, "--output", str(output)])
        importlib.import_module(name).main()
        return json.loads(output.read_text("utf-8"))["records"]

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script(script, run, capsys):
    if keras.backend.backend() != script.backend:
        pytest.skip(f"tested on {script.backend}")
    records = run(script.name, script.arguments)
    assert len(records) == script.records
    assert all(record.keys() == records[0].keys() for record in records)
    assert next(iter(records[0])) in capsys.readouterr().out


@on_torch
def test_authors_layer(run):
    *found, total = run("authors_layer", "--batch-size 2 --rounds 1")
    assert all(record["difference"] < 1e-5 for record in found)
    assert sum(record["times"] for record in found) == 8
    name = "the authors' layer, ms"
    expected = sum(record["times"] * record[name] for record in found)
    assert total[name] == expected
    assert total.keys() == found[0].keys()


@on_torch
def test_rounding(run, monkeypatch):
    rounding = importlib.import_module("rounding")
    monkeypatch.setattr(rounding, "FORMS", ("fast",))
    exact, smooth = run("rounding", "--network vgg11 --batch-size 2")
    assert (exact["form"], smooth["form"]) == ("fast", "fast")
    assert 0 < smooth["outputs"] < 1e-3


@on_torch
def test_memory(monkeypatch, capsys):
    memory = importlib.import_module("memory")
    form = "deconvolution, fast"
    arguments = ["--network", "small", "--batch-size", "2", "--form", form]
    monkeypatch.setattr("sys.argv", ["memory", *arguments])
    memory.main()
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["form"] == form
    # Of the process, whose memory may have been larger before.
    assert record["peak, MiB"] >= 0
    assert record["trainable weights"] > 0


@on_torch
def test_golden_parity(monkeypatch, capsys):
    parity = importlib.import_module("golden_parity")
    names = parity.test_golden.CASES[:1]
    monkeypatch.setattr(parity.test_golden, "CASES", names)
    parity.main()
    found = capsys.readouterr().out.splitlines()[2:]
    assert len(found) == 8
    assert all(float(line.split("|")[2]) < 1e-4 for line in found)

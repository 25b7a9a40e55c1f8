"""Each example, by its command: whole, killed, and resumed."""

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import compare

BACKEND = keras.backend.backend()
ROOT = Path(__file__).parents[2]
STEPS = 12
TINY = [
    *("--dataset", "mnist"),
    *("--batch-size", "8"),
    *("--widths", "2"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a few images."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "mnist.npz",
        x_train=rng.integers(0, 256, (40, 8, 8), np.uint8),
        y_train=rng.integers(0, 10, 40, np.uint8),
        x_test=rng.integers(0, 256, (10, 8, 8), np.uint8),
        y_test=rng.integers(0, 10, 10, np.uint8),
    )
    return folder


@pytest.fixture
def example(monkeypatch):
    """Returns a function: name of a module of the examples to the module."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


def arguments(folder, checkpoint):
    return [
        *TINY,
        *("--data-dir", folder),
        *("--checkpoint", folder / checkpoint),
    ]


def start(folder, checkpoint, *more, module=()):
    """Starts the example of this backend."""
    script = ROOT / "examples" / f"distributed_{BACKEND}.py"
    return subprocess.Popen(
        [
            *(sys.executable, *module, script),
            *(*arguments(folder, checkpoint), *more),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    """Waits for the end of an example; returns what it has printed."""
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    return printed


def read(path):
    """Returns the weights in a file, and the step it is of."""
    model = keras.models.load_model(path)
    weights = [keras.ops.convert_to_numpy(w) for w in model.weights]
    return weights, int(model.optimizer.iterations)


def kill(process):
    """Kills the process, or one of its workers, after the first checkpoint."""
    victim = process.pid
    for line in process.stdout:
        if match := re.match(r"worker 1: process (\d+)", line):
            victim = int(match[1])
        if line.startswith("step "):
            break
    os.kill(victim, signal.SIGKILL)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode != 0
    if victim != process.pid:
        assert "worker 1 has failed, with status -9" in printed


# For the run that nobody disturbs, what is not tried by the others.
UNDISTURBED = {
    "jax": {},
    "tensorflow": {},
    "torch": {
        "module": (
            *("-m", "torch.distributed.run", "--standalone"),
            *("--local-addr", "127.0.0.1", "--nproc-per-node", "2"),
        )
    },
}
DISTURBED = {
    "jax": (),
    "tensorflow": ("--workers", "2"),
    "torch": ("--workers", "2"),
}
# Adding up in a process and between processes may take another order.
TOLERANCE = {"jax": 0, "tensorflow": 1e-5, "torch": 0}


# Minutes on two cores, so that one backend does for every day.
@pytest.mark.slow if BACKEND != "torch" else lambda test: test
def test_killed_and_resumed_training_ends_at_the_same_weights(folder):
    run = ("--steps", str(STEPS), "--checkpoint-every", "2")
    printed = finish(start(folder, "whole.keras", *run, **UNDISTURBED[BACKEND]))
    assert f"step {STEPS} of {STEPS}: loss " in printed
    assert "test accuracy " in printed

    run = (*run, *DISTURBED[BACKEND])
    kill(start(folder, "killed.keras", *run))
    _, done = read(folder / "killed.keras")
    assert 2 <= done < STEPS
    printed = finish(start(folder, "killed.keras", *run, "--resume"))
    assert f"step {done} of" not in printed

    wanted, _ = read(folder / "whole.keras")
    found, done = read(folder / "killed.keras")
    assert done == STEPS
    for mine, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(
            mine, other, rtol=0, atol=TOLERANCE[BACKEND] * np.abs(other).max()
        )


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "jax", reason="Keras divides layers on JAX")
def test_divided_blocks_train_as_undivided_ones(
    folder, example, monkeypatch, capsys
):
    # Rounding differs, and the next step would enlarge it.
    run = ("--model-parallel", "--widths", "16", "--steps", "1")
    printed = finish(start(folder, "divided.keras", *run))
    assert "8 of 15 statistics are divided" in printed

    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    common = arguments(folder, "undivided.keras")
    example("distributed_jax").main([*map(str, common), *run, "--devices", "1"])
    assert "0 of 15 statistics are divided" in capsys.readouterr().out
    (found, _), (wanted, _) = (
        read(folder / f"{name}.keras") for name in ("divided", "undivided")
    )
    for mine, other in zip(found, wanted, strict=True):
        # Vectors are biases, which start at zero: what is compared is their
        # first gradient, to the tolerance of gradients.
        is_bias = np.ndim(other) == 1
        compare.assert_close(mine, other, 1e-4 if is_bias else 1e-5)


def test_batch_that_cannot_be_divided(example):
    distributed = example("_distributed")
    distributed.check_batch(8, 2)
    with pytest.raises(ValueError, match="got 7 images for 2 devices"):
        distributed.check_batch(7, 2)

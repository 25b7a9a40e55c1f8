"""Training on two devices is training on one, if they share statistics.

A script for each backend trains a tiny network on two virtual devices, or in
two processes, and on one: devices must be there before a framework is, so it
cannot be in the process of these tests. All is in float64.
"""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOLERANCE = 1e-10
REPLICAS = range(1 if BACKEND == "jax" else 2)

on_jax = pytest.mark.skipif(BACKEND != "jax", reason="asks JAX")
on_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="asks TensorFlow"
)
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="asks PyTorch")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the script has written: arrays by name, by case and replica."""
    folder = tmp_path_factory.mktemp("replicas")
    paths = map(str, (HERE.parent, ROOT))
    subprocess.run(
        [sys.executable, HERE / f"{BACKEND}_replicas.py", folder],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        timeout=600,
    )
    return {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}


def differences(found, wanted):
    """Returns how far arrays are off, to the largest value that is wanted."""
    return {
        name: np.abs(value - wanted[name]).max()
        / max(np.abs(wanted[name]).max(), 1e-3)
        for name, value in found.items()
    }


def assert_same(found, wanted):
    off = differences(found, wanted)
    assert max(off.values()) < TOLERANCE, off


@pytest.mark.parametrize("replica", REPLICAS)
def test_synchronized_replicas_train_as_one_device(results, replica):
    """Losses, weights and statistics; gradients of the first step.

    Of ten steps, but of one in JAX's `shard_map`.
    """
    found, wanted = results[f"synchronized_{replica}"], results["alone"]
    assert_same(found, wanted)
    assert len(wanted["losses"]) == 10
    if BACKEND == "jax":
        wanted = [name for name in wanted if name.startswith("first/")]
    assert found.keys() == {*wanted}


def test_separate_replicas_do_not(results):
    off = differences(results["separate_0"], results["alone"])
    for name in ("first/tiny/conv/kernel", "first/tiny/conv/moving_deconv"):
        assert off[name] > 1e-2


@on_tensorflow
def test_separate_replicas_keep_one_average(results):
    """That of theirs: it does not matter which of them is saved."""
    first, second = (results[f"separate_{i}"] for i in REPLICAS)
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value)


@on_torch
@pytest.mark.parametrize("replica", REPLICAS)
@pytest.mark.parametrize("case", ["uneven", "masked"])
def test_shares_count_by_their_rows(results, case, replica):
    """Uneven shares, and shares of which a mask keeps some."""
    assert_same(results[f"{case}_{replica}"], results[case])


@on_jax
def test_keras_distribution_sees_the_whole_batch(results):
    """Whether statistics are synchronized or not: these are not."""
    assert results["keras_0"].keys() == results["alone"].keys()
    assert_same(results["keras_0"], results["alone"])

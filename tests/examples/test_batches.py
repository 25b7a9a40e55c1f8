import importlib
import time

import keras
import numpy as np
import pytest


@pytest.fixture
def batches():
    return importlib.import_module("_batches")


def make(picks, rng):
    return picks.copy(), rng.random(len(picks))


def epoch(found, number):
    found.start_epoch(number)
    return [found[index] for index in range(len(found))]


def test_epochs_differ_and_repeat(batches):
    found = batches.Batches(make, 10, 3, seed=1)
    first, second, again = (epoch(found, number) for number in (0, 1, 0))
    for (picks, noise), (same, same_noise) in zip(first, again, strict=True):
        np.testing.assert_array_equal(picks, same)
        np.testing.assert_array_equal(noise, same_noise)
    orders = [np.concatenate([x for x, _ in each]) for each in (first, second)]
    assert not np.array_equal(*orders)
    for order in orders:
        # Three full batches of three; no sample comes twice.
        assert len(np.unique(order)) == 9


def test_an_epoch_does_not_need_those_before(batches):
    after = batches.Batches(make, 10, 3, seed=1)
    epoch(after, 0)
    resumed = batches.Batches(make, 10, 3, seed=1)
    for (picks, noise), (same, same_noise) in zip(
        epoch(after, 1), epoch(resumed, 1), strict=True
    ):
        np.testing.assert_array_equal(picks, same)
        np.testing.assert_array_equal(noise, same_noise)


def test_threads_keep_the_order(batches):
    def slow_at_first(picks, rng):
        time.sleep(0.02 if picks[0] == 0 else 0)
        return picks.copy(), rng.random(len(picks))

    found = batches.Batches(slow_at_first, 20, 2, threads=4)
    order = np.concatenate([x for x, _ in epoch(found, 0)])
    np.testing.assert_array_equal(order, np.arange(20))


def test_without_a_seed_nothing_is_left_out(batches):
    found = batches.Batches(make, 10, 4)
    assert [len(x) for x, _ in epoch(found, 5)] == [4, 4, 2]


def test_steps(batches):
    assert len(batches.Batches(make, 10, 2, seed=0, steps=3)) == 3
    assert len(batches.Batches(make, 10, 2, seed=0, steps=9)) == 5


def test_seeds_differ(batches):
    orders = [
        np.concatenate(
            [x for x, _ in epoch(batches.Batches(make, 50, 5, seed=seed), 0)]
        )
        for seed in (0, 1)
    ]
    assert not np.array_equal(*orders)


def test_errors_reach_the_caller(batches):
    def fail(picks, rng):
        raise OSError("no such image")

    with pytest.raises(OSError, match="no such image"):
        batches.Batches(fail, 4, 2)[0]


def test_batch_larger_than_the_set(batches):
    with pytest.raises(ValueError, match=r"larger.*batch_size=11 for 10"):
        batches.Batches(make, 10, 11, seed=0)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"seed": 1}, {3}),
        ({}, {3, 1}),
        ({"steps": 2}, {3}),
        ({"steps": 9}, {3, 1}),
    ],
)
def test_sizes(batches, options, sizes):
    found = batches.Batches(make, 10, 3, **options)
    assert found.sizes == sizes
    assert {len(found[index][0]) for index in range(len(found))} == sizes


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="others share any batch out"
)
def test_batches_that_devices_do_not_divide(batches, monkeypatch):
    distribution = importlib.import_module("_distribution")
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["a", "b"])
    found = batches.Batches(make, 9, 4)
    with pytest.raises(ValueError, match="2 devices and batches of 1"):
        distribution.check_backend(True, [found])
    distribution.check_backend(True, [batches.Batches(make, 8, 4)])

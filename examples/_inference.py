"""Folding, checked, and the time that predictions take."""

import statistics
import time
from collections.abc import Mapping

import keras
import numpy as np

TOLERANCE = 1e-5


def check_agreement(
    model: keras.Model, folded: keras.Model, images: np.ndarray
) -> float:
    """Returns how far the predictions differ, relative to the largest logit.

    Raises:
        RuntimeError: They differ by more than `TOLERANCE`.
    """
    expected = model.predict_on_batch(images)
    found = folded.predict_on_batch(images)
    largest = np.max(np.abs(expected))
    difference = float(np.max(np.abs(found - expected)) / largest)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            "folded predictions must agree with the others within "
            f"{TOLERANCE:g} of the largest logit; got {difference:.2g}"
        )
    return difference


def time_predictions(
    models: Mapping[str, keras.Model], images: np.ndarray, rounds: int = 9
) -> dict[str, float]:
    """Returns the milliseconds that each model takes for these images.

    The models take turns, so that a change in the load of the machine meets
    all of them; the median round counts, after one round to warm up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            start = time.perf_counter()
            model.predict_on_batch(images)
            seconds[name].append(time.perf_counter() - start)
    return {
        name: 1e3 * statistics.median(times[1:])
        for name, times in seconds.items()
    }

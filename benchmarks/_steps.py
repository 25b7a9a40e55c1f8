"""Training steps of several networks, which take turns."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import keras

from _networks import BATCH_NORM
from _networks import batch
from _networks import prepare
from _turns import take_turns
from _turns import to_records

# The period in which the fast preset computes D: a turn holds its share of
# dear and cheap steps.
STEPS_PER_TURN = 8


def measure(
    name: str, networks: Mapping[str, keras.Model], batch_size: int, rounds: int
) -> list[dict[str, Any]]:
    """Returns a record of each form of a network; one is `BATCH_NORM`."""
    images, labels = batch(name, batch_size)
    first: dict[str, float] = {}

    def turn(model: keras.Model) -> None:
        for _ in range(STEPS_PER_TURN):
            float(model.train_on_batch(images, labels))

    for form, model in networks.items():
        prepare(model)
        start = time.perf_counter()
        float(model.train_on_batch(images, labels))
        first[form] = time.perf_counter() - start
    turns = take_turns(
        {form: partial(turn, model) for form, model in networks.items()},
        rounds,
        BATCH_NORM,
    )
    records = to_records(turns, BATCH_NORM, steps=STEPS_PER_TURN)
    for record in records:
        record["first step, s"] = first.get(record["form"])
    return records

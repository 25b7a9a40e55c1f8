"""What does it cost to keep NaN and Inf out of the running statistics?

    KERAS_BACKEND=torch python benchmarks/guard.py

A deconvolved network is trained as it is, and with the test for finite
values and the choice that follows it taken out. The two take turns step by
step, and the unguarded one takes a second turn: the ratio to itself says how
much is noise.
"""

import argparse
import contextlib
import os
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import keras_deconv
from _results import read
from _results import result_path
from _results import write
from _turns import take_turns
from _turns import to_records
from keras_deconv.layers import _statistics
from render import report

QUESTION = (
    "What does it cost to keep NaN and Inf out of the running statistics?"
)
BASELINE = "without"


def network() -> keras.Model:
    """Returns a small deconvolved network."""
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras_deconv.DeconvConv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            keras_deconv.DeconvConv2D(64, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            keras_deconv.DeconvDense(10),
        ]
    )
    model.compile(
        keras.optimizers.SGD(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def unguarded() -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which statistics are taken as they come."""

    def where(is_valid: Any, new: Any, old: Any) -> Any:
        return new if is_valid is True else choose(is_valid, new, old)

    choose = _statistics.where
    return mock.patch.multiple(
        _statistics, _are_finite=lambda *values: True, where=where
    )


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--output", type=result_path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(options.batch_size, 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 10, options.batch_size)
    forms = {BASELINE: network(), "with": network()}

    def step(name: str) -> None:
        # PyTorch has no graph: what is patched counts at every step.
        with unguarded() if name == BASELINE else contextlib.nullcontext():
            float(forms[name].train_on_batch(images, labels))

    turns = take_turns(
        {name: partial(step, name) for name in forms},
        options.rounds,
        BASELINE,
    )
    records = to_records(turns, BASELINE)
    output = options.output or Path(
        f"outputs/guard_{keras.backend.backend()}.json"
    )
    command = (
        f"python benchmarks/guard.py --batch-size {options.batch_size} "
        f"--rounds {options.rounds}"
    )
    write(output, QUESTION, command, records)
    print(report(read(output)))


if __name__ == "__main__":
    main()

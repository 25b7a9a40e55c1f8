"""What does a deconvolved training step cost against batch normalization?

    KERAS_BACKEND=torch python benchmarks/training_step.py --network resnet18

A network is trained with plain convolutions, with batch normalization, and
deconvolved by each preset. They take turns of eight steps, the period in
which the fast preset computes D, with the warm-up over: a turn
holds its share of dear and cheap steps. The median of the ratios within each
round counts. The first step, which compiles, is reported apart.
"""

import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from _networks import BATCH_NORM
from _networks import batch
from _networks import forms
from _networks import make_parser
from _networks import prepare
from _results import read
from _results import write
from _turns import take_turns
from _turns import to_records
from render import report

QUESTION = (
    "What does a deconvolved training step cost against batch normalization?"
)
STEPS_PER_TURN = 8


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    name = options.network
    images, labels = batch(name, options.batch_size)
    networks = forms(name)
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
        options.rounds,
        BATCH_NORM,
    )
    records = to_records(turns, BATCH_NORM, steps=STEPS_PER_TURN)
    for record in records:
        record["first step, s"] = first.get(record["form"])
    output = options.output or Path(
        f"outputs/training_step_{name}_{keras.backend.backend()}.json"
    )
    command = (
        f"python benchmarks/training_step.py --network {name} "
        f"--batch-size {options.batch_size} --rounds {options.rounds}"
    )
    write(output, QUESTION, command, records)
    print(report(read(output)))


if __name__ == "__main__":
    main()

"""What does prediction cost: normalized, deconvolved, folded, plain?

    KERAS_BACKEND=torch python benchmarks/inference.py --network resnet18

The forms of a network predict the same batch in turns.
"""

import os
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import keras_deconv
from _networks import PLAIN
from _networks import batch
from _networks import forms
from _networks import make_parser
from _results import read
from _results import write
from _turns import take_turns
from _turns import to_records
from render import report

QUESTION = "What does prediction cost: normalized, deconvolved, folded, plain?"


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    name = options.network
    images, _ = batch(name, options.batch_size)
    networks = forms(name)
    for form in list(networks):
        if form.startswith("deconvolution"):
            networks[f"{form}, folded"] = keras_deconv.fold(networks[form])
    turns = take_turns(
        {
            form: partial(model.predict_on_batch, images)
            for form, model in networks.items()
        },
        options.rounds,
        PLAIN,
    )
    output = options.output or Path(
        f"outputs/inference_{name}_{keras.backend.backend()}.json"
    )
    command = (
        f"python benchmarks/inference.py --network {name} "
        f"--batch-size {options.batch_size} --rounds {options.rounds}"
    )
    write(output, QUESTION, command, to_records(turns, PLAIN))
    print(report(read(output)))


if __name__ == "__main__":
    main()

"""What does prediction cost: normalized, deconvolved, folded, plain?

    KERAS_BACKEND=torch python benchmarks/inference.py --network resnet18

The forms of a network predict the same batch in turns.
"""

import os
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_deconv
from _networks import PLAIN
from _networks import batch
from _networks import forms
from _networks import make_parser
from _networks import publish
from _turns import take_turns
from _turns import to_records

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
    publish("inference", QUESTION, options, to_records(turns, PLAIN))


if __name__ == "__main__":
    main()

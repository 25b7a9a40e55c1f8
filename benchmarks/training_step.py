"""What does a deconvolved training step cost against batch normalization?

    KERAS_BACKEND=torch python benchmarks/training_step.py --network resnet18

A network is trained with plain convolutions, with batch normalization, and
deconvolved by each preset. They take turns of eight steps, the period in
which the fast preset computes D, with the warm-up over: a turn
holds its share of dear and cheap steps. The median of the ratios within each
round counts. The first step, which compiles, is reported apart.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


from _networks import forms
from _networks import make_parser
from _networks import publish
from _steps import measure

QUESTION = (
    "What does a deconvolved training step cost against batch normalization?"
)


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    name = options.network
    records = measure(name, forms(name), options.batch_size, options.rounds)
    publish("training_step", QUESTION, options, records)


if __name__ == "__main__":
    main()

"""What does each part of deconvolution add to a training step?

    KERAS_BACKEND=torch python benchmarks/step_parts.py --network resnet18

From plain convolutions to the default preset, each form of a network does what
the one before does and something more. They take turns as in training_step.py,
with batch normalization as the measure.
"""

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_deconv
from _networks import BATCH_NORM
from _networks import NETWORKS
from _networks import PLAIN
from _networks import make_form
from _networks import make_parser
from _networks import publish
from _steps import measure

QUESTION = "What does each part of deconvolution add to a training step?"
NEVER = 10**6
# What a form has beyond the one before, and the settings of the default preset
# that make it so.
PARTS: dict[str, dict[str, Any]] = {
    "a constant D folded into each kernel": {"freeze_after": 1},
    "mean and scale of each batch": {"update_every": NEVER},
    "a new D on every 8th step": {"update_every": 8},
    "and on every step where it is cheap (the default)": {},
}


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    name = options.network
    build, _ = NETWORKS[name]
    networks = {form: make_form(name, form) for form in (BATCH_NORM, PLAIN)}
    for part, settings in PARTS.items():
        networks[part] = keras_deconv.deconvolutionize(
            build(), preset="fast", warmup_steps=0, **settings
        )
    records = measure(name, networks, options.batch_size, options.rounds)
    ratio = f"ratio to {BATCH_NORM}"
    ratios = {record["form"]: record[ratio] for record in records}
    before = dict(zip(PARTS, (PLAIN, *PARTS), strict=False))
    for record in records:
        base = before.get(record["form"])
        record["added"] = base and record[ratio] - ratios[base]
    publish("step_parts", QUESTION, options, records)


if __name__ == "__main__":
    main()

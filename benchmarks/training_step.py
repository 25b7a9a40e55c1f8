"""What does a deconvolved training step cost against batch normalization?

    KERAS_BACKEND=torch python benchmarks/training_step.py --network resnet18

A network is trained with plain convolutions, with batch normalization, and
deconvolved by each preset. They take turns of a few steps, so that the load
of the machine meets all of them alike; the median of the ratios within each
round counts. A turn is as long as the period in which D is computed, and the
warm-up is over, so it holds its share of dear and cheap steps. Batch
normalization takes two turns in each round: their ratio says how much is
noise. The first step, which compiles, is reported apart.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_deconv
from _results import read
from _results import write
from keras_deconv import models
from render import report

QUESTION = (
    "What does a deconvolved training step cost against batch normalization?"
)
BASELINE = "batch normalization"
AGAIN = "batch normalization, again"
STEPS_PER_TURN = 4

# How to build each network, and the side of its images.
NETWORKS: dict[str, tuple[Callable[[], keras.Model], int]] = {
    "vgg11": (models.vgg11, 32),
    "vgg16": (models.vgg16, 32),
    "resnet18": (models.resnet18, 32),
    "resnet50": (
        lambda: keras.applications.ResNet50(
            weights=None, classifier_activation=None
        ),
        224,
    ),
}


def without_normalization(model: keras.Model) -> keras.Model:
    """Returns the network with plain convolutions, all with a bias."""
    return keras_deconv.fold(keras_deconv.deconvolutionize(model))


def variants(name: str) -> dict[str, keras.Model]:
    """Returns the network in every form that is timed."""
    build, _ = NETWORKS[name]
    normalized = build()
    return {
        BASELINE: normalized,
        "plain convolutions": without_normalization(normalized),
        **{
            f"deconvolution, {preset}": keras_deconv.deconvolutionize(
                normalized, preset=preset, warmup_steps=0
            )
            for preset in keras_deconv.PRESETS
        },
    }


def time_turns(
    networks: Mapping[str, keras.Model],
    side: int,
    batch_size: int,
    rounds: int,
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Returns the seconds per step of every turn, and of the first step."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, side, side, 3)).astype("float32")
    labels = rng.integers(0, 10, batch_size)
    first: dict[str, float] = {}

    def turn(name: str, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            float(networks[name].train_on_batch(images, labels))
        return (time.perf_counter() - start) / steps

    for name, model in networks.items():
        model.compile(
            keras.optimizers.SGD(1e-4, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        first[name] = turn(name, 1)
        turn(name, STEPS_PER_TURN - 1)
    seconds: dict[str, list[float]] = {name: [] for name in (*networks, AGAIN)}
    for _ in range(rounds):
        for name in networks:
            seconds[name].append(turn(name, STEPS_PER_TURN))
        seconds[AGAIN].append(turn(BASELINE, STEPS_PER_TURN))
    return seconds, first


def to_records(
    network: str, seconds: Mapping[str, list[float]], first: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Returns medians, and the medians of the ratios within each round."""
    return [
        {
            "network": network,
            "form": name,
            "ms per step": 1e3 * statistics.median(turns),
            f"ratio to {BASELINE}": statistics.median(
                mine / base
                for mine, base in zip(turns, seconds[BASELINE], strict=True)
            ),
            "first step, s": first.get(name),
        }
        for name, turns in seconds.items()
    ]


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", choices=NETWORKS, default="vgg11")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    name = options.network
    output = options.output or Path(
        f"outputs/training_step_{name}_{keras.backend.backend()}.json"
    )
    seconds, first = time_turns(
        variants(name), NETWORKS[name][1], options.batch_size, options.rounds
    )
    command = (
        f"python benchmarks/training_step.py --network {name} "
        f"--batch-size {options.batch_size} --rounds {options.rounds}"
    )
    write(output, QUESTION, command, to_records(name, seconds, first))
    print(report(read(output)))


if __name__ == "__main__":
    main()

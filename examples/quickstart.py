"""Network deconvolution against batch normalization, in a few minutes.

    python examples/quickstart.py

The same network is trained with batch normalization, at several learning
rates, and deconvolved, at one. Then the deconvolved network is folded into a
plain one with the same predictions.

All runs have the same initial kernels, batches and cosine schedule.
KERAS_BACKEND picks the backend, TensorFlow by default.
"""

import argparse
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console

import keras_deconv
from _arguments import positive
from _comparison import BATCH_NORM
from _comparison import DECONV
from _comparison import Candidate
from _comparison import Settings
from _comparison import best
from _comparison import compare
from _datasets import NAMES
from _datasets import Dataset
from _datasets import load
from _inference import TOLERANCE
from _inference import check_agreement
from _inference import time_predictions
from _options import data_parser
from _plot import save_curves
from _tables import inference_table
from _tables import training_table
from _training import steps_per_epoch

# TensorFlow warns of every new model that its function is traced again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

BATCH_NORM_RATES = (0.2, 0.05, 0.01)
DECONV_RATE = 0.1


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison that the command line asks for."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    console = Console()
    start = time.perf_counter()
    try:
        data = load(options.dataset, options.data_dir)
        epoch = steps_per_epoch(data, options.batch_size)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    settings = Settings(
        widths=options.widths,
        batch_size=options.batch_size,
        steps=options.steps or max(1, round(options.epochs * epoch)),
        seeds=options.seeds,
    )
    title = describe(options.dataset, data, settings)
    console.print(title)
    candidates = compare(data, settings, options.learning_rates, DECONV_RATE)
    winners = [best(candidates, name) for name in (BATCH_NORM, DECONV)]
    batch_norm, deconv = winners
    console.print(training_table(candidates, winners))
    report_accuracy(batch_norm, deconv, options.learning_rates, console)
    test_batch = data.x_test[: options.batch_size]
    report_folding(batch_norm, deconv, test_batch, console)
    save_curves(candidates, winners, options.output, title)
    console.print(f"Curves: {options.output}", soft_wrap=True)
    console.print(f"Total time: {time.perf_counter() - start:.0f} s")


def make_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = data_parser(__doc__, NAMES)
    add = parser.add_argument
    add("--epochs", type=positive(float), default=4, help="may be a fraction")
    add("--steps", type=positive(int), help="steps, in place of --epochs")
    add("--seeds", "--seed", type=int, nargs="+", default=[0])
    add("--batch-size", type=positive(int), default=128)
    add(
        "--learning-rates",
        type=positive(float),
        nargs="+",
        default=BATCH_NORM_RATES,
        help="of batch normalization; the best one counts",
    )
    add(
        "--widths",
        type=positive(int),
        nargs="+",
        default=(16, 32, 32),
        help="channels; each makes two convolutions and a pooling",
    )
    add(
        "--output",
        type=Path,
        default=Path("outputs/quickstart.png"),
        help="file of the picture, such as curves.png",
    )
    return parser


def describe(name: str, data: Dataset, settings: Settings) -> str:
    """Says in one line what is trained on what."""
    epochs = settings.steps / steps_per_epoch(data, settings.batch_size)
    return (
        f"{name}: {len(data.x_train):,} training and {len(data.x_test):,} "
        f"test images, {epochs:.3g} epochs of batch {settings.batch_size} "
        f"({settings.steps} steps), {keras.backend.backend()}"
    )


def report_accuracy(
    batch_norm: Candidate,
    deconv: Candidate,
    rates: Sequence[float],
    console: Console,
) -> None:
    """Compares the winners, and warns if another rate could do better."""
    lead = 100 * (deconv.mean_accuracy - batch_norm.mean_accuracy)
    console.print(
        f"{DECONV.capitalize()} reaches {deconv.mean_accuracy:.1%}, "
        f"{BATCH_NORM} at the best of its learning rates "
        f"{batch_norm.mean_accuracy:.1%}: {lead:+.1f} points."
    )
    if batch_norm.learning_rate in (min(rates), max(rates)):
        console.print(
            f"The best rate, {batch_norm.learning_rate:g}, is at the end of "
            "those tried: one beyond it may do better."
        )


def report_folding(
    batch_norm: Candidate,
    deconv: Candidate,
    images: np.ndarray,
    console: Console,
) -> None:
    """Folds the deconvolved network, checks it and times it."""
    folded = keras_deconv.fold(deconv.model)
    difference = check_agreement(deconv.model, folded, images)
    milliseconds = time_predictions(
        {
            BATCH_NORM: batch_norm.model,
            DECONV: deconv.model,
            f"{DECONV}, folded": folded,
        },
        images,
    )
    console.print(inference_table(milliseconds, len(images)))
    console.print(
        f"Folded predictions differ by {difference:.1g} of the largest logit "
        f"({TOLERANCE:g} allowed)."
    )


if __name__ == "__main__":
    main()

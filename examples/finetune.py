"""Deconvolution for a trained network: a warm start, and what it gains.

    python examples/finetune.py --dataset cifar10 --data-dir DIR
    python examples/finetune.py --dataset cifar10 --model network.keras

A network with batch normalization is loaded, or trained first. Its twin,
`deconvolutionize(model, calibration_data=...)`, predicts what it predicts,
but for what the root of the covariance leaves out. Both are then trained
further, at each of the rates, with the same batches. All training is SGD with
momentum 0.9 and a cosine schedule to zero; images are standardised, and not
augmented.

A network of your own takes standardised images of the data set and gives a
logit for each class. Each run adds a line to results.csv in the output
folder, and a log of its epochs. Started again, the script skips the runs that
have a line and goes on with one that was cut short. KERAS_BACKEND picks the
backend, TensorFlow by default.
"""

import argparse
import dataclasses
import hashlib
import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import keras_deconv
from _arguments import positive
from _batches import Batch
from _batches import Batches
from _datasets import FULL_SETS
from _datasets import NAMES
from _datasets import Dataset
from _datasets import load
from _experiment import BATCH
from _experiment import DECONV
from _experiment import NORMS
from _experiment import Experiment
from _finetune import convert
from _grid import make_parser
from _network import build_network
from _runs import Task
from _runs import run_all
from _training import EVALUATION_BATCH
from _training import accuracy

# TensorFlow warns of every new model that its function is traced again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what the command line asks for, and prints the table."""
    parser = options_parser()
    options = parser.parse_args(arguments)
    try:
        data = load(options.dataset, options.data_dir)
        if options.model is not None:
            check(keras.models.load_model(options.model, compile=False), data)
        tune = [each for seed in options.seeds for each in plan(options, seed)]
        batches = {
            each: make_batches(data, each, each.seed + 1) for each in tune
        }
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if options.model is None:
        first = [first_training(options, seed) for seed in options.seeds]
        run_all(
            [(each, training(data, each, options)) for each in first],
            lambda each: command(each, options),
            options.output,
        )
    rows = run_all(
        [(each, tuning(data, each, batches[each], options)) for each in tune],
        lambda each: command(each, options),
        options.output,
    )
    starts = {
        (seed, norm): accuracy(
            trained(data, seed, norm, options), data.x_test, data.y_test
        )
        for seed in options.seeds
        for norm in NORMS
    }
    Console().print(table(tune, rows, starts))


def options_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--dataset", choices=NAMES, default="cifar10", help="default: cifar10")
    add(
        "--data-dir",
        type=Path,
        help="folder of NAME.npz; without it a full set is downloaded",
    )
    add("--model", type=Path, help="a trained network, as a .keras file")
    add(
        "--epochs",
        type=positive(int),
        default=2,
        help="of the first training, without --model (default: 2)",
    )
    add(
        "--learning-rate",
        type=positive(float),
        default=0.05,
        help="of the first training (default: 0.05)",
    )
    add(
        "--widths",
        type=positive(int),
        nargs="+",
        default=(16, 32, 64),
        help="of the network that is trained first (default: 16 32 64)",
    )
    add(
        "--fine-tuning-epochs",
        type=positive(int),
        default=1,
        help="default: 1",
    )
    add(
        "--fine-tuning-rates",
        type=positive(float),
        nargs="+",
        default=(0.02, 0.005),
        help="default: 0.02 0.005",
    )
    add(
        "--preset",
        choices=keras_deconv.PRESETS,
        default="fast",
        help="settings of deconvolution (default: %(default)s)",
    )
    add("--batch-size", type=positive(int), default=128, help="default: 128")
    add("--seeds", type=int, nargs="+", default=(0,), help="default: 0")
    add(
        "--output",
        type=Path,
        default=Path("outputs/finetune"),
        help="default: %(default)s",
    )
    return parser


def check(model: keras.Model, data: Dataset) -> None:
    """Raises ValueError if a network does not fit the data set."""
    wanted = data.x_train.shape[1:], (data.classes,)
    found = model.input_shape[1:], model.output_shape[1:]
    if found != wanted:
        raise ValueError(
            "The network must take images of the data set and give a logit "
            f"for each class, {wanted[0]} to {wanted[1]}. Received: "
            f"{found[0]} to {found[1]}"
        )


def plan(options: argparse.Namespace, seed: int) -> list[Experiment]:
    """Returns the runs that train a network and its twin further."""
    before = first_training(options, seed)
    if options.model is None:
        widths = "-".join(map(str, options.widths))
        network = (
            f"vgg {widths}, {options.epochs} epochs at "
            f"{options.learning_rate:g}"
        )
    else:
        # Another network may have been saved by that name.
        content = hashlib.sha256(options.model.read_bytes()).hexdigest()
        network = f"{options.model.name} {content[:8]}"
    return [
        dataclasses.replace(
            before,
            experiment="finetune",
            network=network,
            norm=norm,
            preset=options.preset if norm == DECONV else None,
            epochs=options.fine_tuning_epochs,
            learning_rate=rate,
        )
        for norm in NORMS
        for rate in options.fine_tuning_rates
    ]


def first_training(options: argparse.Namespace, seed: int) -> Experiment:
    """Returns the run that trains the network with batch normalization."""
    return Experiment(
        experiment="before finetune",
        network="vgg " + "-".join(map(str, options.widths)),
        dataset=options.dataset,
        norm=BATCH,
        preset=None,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        seed=seed,
    )


def training(
    data: Dataset, experiment: Experiment, options: argparse.Namespace
) -> Task:
    """Returns the first training, which saves the network."""
    return Task(
        lambda: build_network(
            data.x_train.shape[1:], data.classes, options.widths
        ),
        *make_batches(data, experiment, experiment.seed),
        save=file_of(options, experiment.seed),
    )


def tuning(
    data: Dataset,
    experiment: Experiment,
    batches: tuple[Batches, Batches],
    options: argparse.Namespace,
) -> Task:
    """Returns the training of the network, or of its twin, from its file."""
    seed, norm = experiment.seed, experiment.norm
    return Task(lambda: trained(data, seed, norm, options), *batches)


def trained(
    data: Dataset, seed: int, norm: str, options: argparse.Namespace
) -> keras.Model:
    """Returns the trained network, or its twin."""
    network = keras.models.load_model(file_of(options, seed), compile=False)
    if norm == BATCH:
        return network
    return convert(
        network, data.x_train, options.batch_size, seed, preset=options.preset
    )


def file_of(options: argparse.Namespace, seed: int) -> Path:
    """Returns the file of the trained network."""
    if options.model is not None:
        return options.model
    return (
        options.output / f"{first_training(options, seed).folder_name()}.keras"
    )


def make_batches(
    data: Dataset, experiment: Experiment, order: int
) -> tuple[Batches, Batches]:
    """Returns batches to train on, shuffled by `order`, and to test on."""

    def train(picks: np.ndarray, rng: np.random.Generator) -> Batch:
        return data.x_train[picks], data.y_train[picks]

    def test(picks: np.ndarray, rng: np.random.Generator) -> Batch:
        return data.x_test[picks], data.y_test[picks]

    size = experiment.batch_size
    return (
        Batches(train, len(data.x_train), size, seed=order),
        Batches(test, len(data.x_test), EVALUATION_BATCH),
    )


def command(experiment: Experiment, options: argparse.Namespace) -> str:
    """Returns the command that makes one run again, after the first."""
    words = ["python", "examples/finetune.py", "--dataset", options.dataset]
    if options.dataset in FULL_SETS:
        words += ["--data-dir", "DIR"]
    if options.model is not None:
        words += ["--model", options.model.name]
    else:
        words += [
            *("--epochs", str(options.epochs)),
            *("--learning-rate", f"{options.learning_rate:g}"),
            *("--widths", *map(str, options.widths)),
        ]
    rates = options.fine_tuning_rates
    words += [
        *("--fine-tuning-epochs", str(options.fine_tuning_epochs)),
        *("--fine-tuning-rates", *(f"{rate:g}" for rate in rates)),
        *("--preset", options.preset),
        *("--batch-size", str(options.batch_size)),
        *("--seeds", str(experiment.seed)),
    ]
    return shlex.join(words)


def table(
    experiments: Sequence[Experiment],
    rows: Sequence[dict[str, str]],
    starts: dict[tuple[int, str], float],
) -> Table:
    """Shows the test accuracies before and after."""
    found = Table(title="Test accuracy", box=box.SIMPLE_HEAD, show_edge=False)
    found.add_column("network", no_wrap=True)
    for title in ("seed", "as it is", "rate", "after fine-tuning"):
        found.add_column(title, justify="right")
    for experiment, row in zip(experiments, rows, strict=True):
        is_twin = experiment.norm == DECONV
        found.add_row(
            "deconvolved twin" if is_twin else "batch normalization",
            str(experiment.seed),
            f"{starts[experiment.seed, experiment.norm]:.2%}",
            f"{experiment.learning_rate:g}",
            f"{float(row['final test accuracy']):.2%}",
        )
    return found


if __name__ == "__main__":
    main()

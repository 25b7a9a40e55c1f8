"""Command lines that name runs: a run of every combination of values."""

import argparse
import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_deconv
from _arguments import non_negative
from _arguments import positive
from _experiment import DECONV
from _experiment import FLOAT32
from _experiment import NORMS
from _experiment import Experiment

FLAGS = {
    "network": "--network",
    "norm": "--norm",
    "preset": "--preset",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "weight_decay": "--weight-decay",
    "seed": "--seeds",
    "num_iterations": "--num-iterations",
    "epsilon": "--epsilon",
    "steps_per_epoch": "--steps-per-epoch",
    "image_size": "--image-size",
    "network_arguments": "--network-arguments",
}
NUMBERS = ("learning_rate", "weight_decay", "epsilon")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser that shows a module's text as it is."""
    return argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_training(
    parser: argparse.ArgumentParser,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    output: Path,
) -> None:
    """Adds what every script takes that trains networks, with defaults.

    Arguments that take several values make a run of every combination.
    """
    add = parser.add_argument
    whole, number = positive(int), positive(float)
    add("--norm", nargs="+", choices=NORMS, default=NORMS)
    add(
        "--preset",
        choices=keras_deconv.PRESETS,
        default="paper",
        help="settings of deconvolution (default: %(default)s)",
    )
    add(
        "--epochs",
        type=whole,
        nargs="+",
        default=(epochs,),
        help=f"default: {epochs}",
    )
    add(
        "--batch-size",
        type=whole,
        nargs="+",
        help=f"default: {batch_size}",
    )
    add(
        "--learning-rate",
        type=number,
        nargs="+",
        help=f"where the schedule starts (default: {learning_rate:g})",
    )
    add(
        "--batch-norm-rates",
        type=number,
        nargs="+",
        help="with batch normalization (default: those of --learning-rate)",
    )
    add(
        "--weight-decay",
        type=non_negative,
        nargs="+",
        help=f"L2 of all trainable weights (default: {weight_decay:g})",
    )
    add("--num-iterations", type=whole, help="in place of the preset's")
    add("--epsilon", type=number, help="in place of the preset's")
    add("--seeds", type=int, nargs="+", default=(0,), help="default: 0")
    add(
        "--mixed-precision",
        choices=("float16", "bfloat16"),
        nargs="?",
        const="bfloat16",
        default=FLOAT32,
        help="without a value: bfloat16",
    )
    add(
        "--distributed",
        action="store_true",
        help="spread every batch over all devices (JAX, TensorFlow)",
    )
    add("--steps-per-epoch", type=whole, help="the most steps of an epoch")
    add("--output", type=Path, default=output, help="default: %(default)s")
    parser.set_defaults(
        default_batch_size=batch_size,
        default_learning_rate=learning_rate,
        default_weight_decay=weight_decay,
    )


def make_experiments(
    options: argparse.Namespace, experiment: str, dataset: str, **fixed: Any
) -> Iterator[Experiment]:
    """Yields a run of every combination that the command line names.

    Args:
        options: What `add_training` has added, and `network`.
        experiment: As in `Experiment`.
        dataset: As in `Experiment`.
        **fixed: What else all runs have in common.
    """
    rates = options.learning_rate or [options.default_learning_rate]
    for epochs, network, batch_size, decay, seed, norm in itertools.product(
        options.epochs,
        options.network,
        options.batch_size or [options.default_batch_size],
        options.weight_decay or [options.default_weight_decay],
        options.seeds,
        options.norm,
    ):
        is_deconv = norm == DECONV
        own = None if is_deconv else options.batch_norm_rates
        for rate in own or rates:
            yield Experiment(
                experiment=experiment,
                network=network,
                dataset=dataset,
                norm=norm,
                preset=options.preset if is_deconv else None,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=rate,
                weight_decay=decay,
                seed=seed,
                num_iterations=options.num_iterations if is_deconv else None,
                epsilon=options.epsilon if is_deconv else None,
                precision=options.mixed_precision,
                steps_per_epoch=options.steps_per_epoch,
                distributed=options.distributed,
                **fixed,
            )


def command(script: str, experiment: Experiment, *words: str) -> str:
    """Returns the command that makes one run again."""
    found = ["python", f"examples/{script}.py", *words]
    for name, flag in FLAGS.items():
        value: Any = getattr(experiment, name)
        if value is not None:
            found += [flag, f"{value:g}" if name in NUMBERS else str(value)]
    if experiment.precision != FLOAT32:
        found += ["--mixed-precision", experiment.precision]
    if experiment.distributed:
        found.append("--distributed")
    return shlex.join(found)

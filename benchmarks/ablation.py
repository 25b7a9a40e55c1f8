"""Which settings of network deconvolution matter, in accuracy and cost?

    python benchmarks/ablation.py --data-dir DIR
    python benchmarks/ablation.py --summary

Trains the VGG-style network of the examples on CIFAR-10, or a residual one of
the same widths: with batch normalization at several learning rates, and
deconvolved by the preset "paper" with one setting changed at a time, or by the
preset "fast". SGD with momentum and a cosine schedule; a seed gives all
variants the same kernels and batches. Settings of blocks are those of dense
layers as well; the presets leave these at 512.

DIR holds cifar10.npz; without it, Keras downloads the set. The result file is
rewritten after every run, and started again the script goes on after the last
one. Runs go seed by seed.
"""

import argparse
import logging
import math
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The network, the data and the training are those of the examples.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import keras

import keras_deconv
from _datasets import CLASSES
from _datasets import Dataset
from _datasets import load
from _network import NETWORKS
from _results import Result
from _results import beside
from _results import environment
from _results import read
from _results import result_path
from _results import write
from _training import accuracy
from _training import batches
from _training import compile_model
from _training import steps_per_epoch
from render import heading
from render import table

# TensorFlow warns of every new model that its function is traced again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

# These may differ between the sessions that add to one file.
PASSING = ("OS", "date", "git commit")
QUESTION = (
    "Which settings of network deconvolution matter, in accuracy and cost?"
)
MEDIAN = "ms per step"
LATE_MEAN = "ms per step, last quarter"
BATCH_NORM = "batch normalization, rate "
BATCH_NORM_RATES = (0.2, 0.1, 0.05, 0.02)
CONTIGUOUS = {"block_size": 16, "block_layout": "contiguous"}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper settings": {},
    "2 iterations": {"num_iterations": 2},
    "3 iterations": {"num_iterations": 3},
    "7 iterations": {"num_iterations": 7},
    "block 32": {"block_size": 32},
    "block 16": {"block_size": 16},
    "block 16, contiguous": CONTIGUOUS,
    "block 16, contiguous, a D per block": {
        **CONTIGUOUS,
        "share_blocks": False,
    },
    "D every 4th step": {"update_every": 4},
    "D every 10th step": {"update_every": 10},
    "no gradient through D": {"differentiate": False},
    "minimax root": {"method": "minimax"},
    "block 32, D every 4th step": {"block_size": 32, "update_every": 4},
    "3 iterations, block 32, D every 4th step": {
        "num_iterations": 3,
        "block_size": 32,
        "update_every": 4,
    },
    "3 iterations, block 16, D every 4th step": {
        "num_iterations": 3,
        "block_size": 16,
        "update_every": 4,
    },
    "3 iterations, block 32, D every 8th step": {
        "num_iterations": 3,
        "block_size": 32,
        "update_every": 8,
    },
    "preset fast": {"preset": "fast"},
    "preset fast, D every 16th step": {"preset": "fast", "update_every": 16},
    "preset fast, 3 iterations": {"preset": "fast", "num_iterations": 3},
    "preset fast, 3 iterations, D on every step": {
        "preset": "fast",
        "num_iterations": 3,
        "update_every": 1,
    },
    "block 32, no gradient, D every 4th step": {
        "block_size": 32,
        "differentiate": False,
        "update_every": 4,
    },
    "3 iterations, block 32, no gradient, D every 4th step": {
        "num_iterations": 3,
        "block_size": 32,
        "differentiate": False,
        "update_every": 4,
    },
    "block 32, no gradient, minimax root": {
        "block_size": 32,
        "differentiate": False,
        "method": "minimax",
    },
}


@dataclass(frozen=True)
class Variant:
    """What one run trains.

    Attributes:
        name: As in the result file.
        learning_rate: Where the cosine schedule starts.
        settings: What differs from the preset "paper"; None for the network
            as it is, with batch normalization.
    """

    name: str
    learning_rate: float
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Training:
    """What all runs have in common."""

    data: Dataset
    network: str
    widths: Sequence[int]
    batch_size: int
    steps: int


def make_variants(
    names: Iterable[str],
    learning_rate: float,
    batch_norm_rates: Iterable[float],
) -> list[Variant]:
    """Returns batch normalization at each rate, then the deconvolved ones."""
    return [
        *(Variant(f"{BATCH_NORM}{rate:g}", rate) for rate in batch_norm_rates),
        *(Variant(name, learning_rate, VARIANTS[name]) for name in names),
    ]


def run(variant: Variant, training: Training, seed: int) -> dict[str, Any]:
    """Trains and evaluates one network, and returns the record.

    The final loss is the mean over the last quarter of the steps. A step is
    timed twice: by the median of all but the first, which compiles, and by
    the mean of the last quarter. Only the mean shows what is saved where some
    steps compute D and others do not. A loss that is not finite ends the
    training; what is left of the network is evaluated like any other.
    """
    keras.utils.clear_session()  # Frees the network of the run before.
    model = build(variant, training, seed)
    losses, seconds = train(model, variant.learning_rate, training, seed)
    quarter = math.ceil(training.steps / 4)
    diverged = not math.isfinite(losses[-1])
    data = training.data
    return {
        "variant": variant.name,
        "seed": seed,
        "learning rate": variant.learning_rate,
        "test accuracy": accuracy(model, data.x_test, data.y_test),
        "final loss": None if diverged else statistics.fmean(losses[-quarter:]),
        MEDIAN: 1e3 * statistics.median(seconds[1:] or seconds),
        LATE_MEAN: 1e3 * statistics.fmean(seconds[-quarter:]),
        "diverged": diverged,
        "commit": environment()["git commit"],
    }


def build(variant: Variant, training: Training, seed: int) -> keras.Model:
    """Builds the network of a variant; a seed always gives the same kernels."""
    keras.utils.set_random_seed(seed)
    shape = training.data.x_train.shape[1:]
    model = NETWORKS[training.network](shape, CLASSES, training.widths)
    if variant.settings is None:
        return model
    settings = {"preset": "paper", **variant.settings}
    return keras_deconv.deconvolutionize(model, **settings)


def train(
    model: keras.Model, learning_rate: float, training: Training, seed: int
) -> tuple[list[float], list[float]]:
    """Returns the loss and the seconds of every step, up to a loss of NaN."""
    data = training.data
    compile_model(model, learning_rate, training.steps)
    order = batches(len(data.x_train), training.batch_size, seed)
    losses: list[float] = []
    seconds: list[float] = []
    for _ in range(training.steps):
        picks = next(order)
        images, labels = data.x_train[picks], data.y_train[picks]
        start = time.perf_counter()
        model.reset_metrics()  # Older Keras returns the mean of all steps.
        losses.append(float(model.train_on_batch(images, labels)))
        seconds.append(time.perf_counter() - start)
        if not math.isfinite(losses[-1]):
            break
    return losses, seconds


def run_missing(
    path: Path,
    records: list[dict[str, Any]],
    plan: Iterable[tuple[int, Variant]],
    training: Training,
    settings: Mapping[str, Any],
) -> None:
    """Runs what the records lack, and rewrites the file after every run."""
    done = {(record["seed"], record["variant"]) for record in records}
    missing = [(s, v) for s, v in plan if (s, v.name) not in done]
    for count, (seed, variant) in enumerate(missing, 1):
        record = run(variant, training, seed)
        records.append(record)
        write(path, QUESTION, command(settings, records), records, settings)
        print(
            f"{count} of {len(missing)}: seed {seed}, {variant.name}: "
            f"{record['test accuracy']:.1%}, "
            f"{record[MEDIAN]:.0f} ms per step"
            f"{', diverged' * record['diverged']}",
            flush=True,
        )


def recorded(path: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the records of an earlier session, none if there was none.

    Raises:
        ValueError: They were made with other settings or elsewhere.
    """
    if not path.exists():
        return []
    before = read(path)
    changes = [
        f"{key} was {then.get(key)}, is {now.get(key)}"
        for then, now in (
            (before.settings, settings),
            (before.environment, environment()),
        )
        for key in {**then, **now}
        if key not in PASSING and then.get(key) != now.get(key)
    ]
    if changes:
        raise ValueError(
            f"runs added to {path} must be made like those in it, others "
            f"need another --output; {'; '.join(changes)}"
        )
    return before.records


def command(
    settings: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> str:
    """Returns the command that makes these records from nothing."""
    seeds = dict.fromkeys(record["seed"] for record in records)
    names = dict.fromkeys(record["variant"] for record in records)
    rates = [
        name.removeprefix(BATCH_NORM)
        for name in names
        if name.startswith(BATCH_NORM)
    ]
    deconvolved = [name for name in VARIANTS if name in names]
    words = [
        *("python", "benchmarks/ablation.py", "--data-dir", "DIR"),
        *("--epochs", f"{settings['epochs']:g}"),
        *("--batch-size", str(settings["batch size"])),
        *("--network", settings["network"]),
        *("--widths", *settings["widths"].split("-")),
        *("--learning-rate", f"{settings['learning rate']:g}"),
        *("--seeds", *map(str, seeds)),
        *("--batch-norm-rates", *rates),
    ]
    if deconvolved != list(VARIANTS):
        words += ["--variants", *deconvolved]
    return shlex.join(words)


def summary(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns a Markdown table with one line for each variant."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        runs.setdefault(record["variant"], []).append(record)
    rates = [name for name in runs if name.startswith(BATCH_NORM)]
    best = max(rates, key=lambda name: mean_accuracy(runs[name]), default="")
    return table(
        {
            "variant": f"{name} (best of the rates)" if name == best else name,
            "test accuracy, mean": f"{mean_accuracy(mine):.1%}",
            "lowest and highest": accuracy_range(mine),
            "cost per step": cost(mine, runs.get(best), MEDIAN),
            "cost, last quarter": cost(mine, runs.get(best), LATE_MEAN),
            "seeds": len(mine),
            "diverged": sum(record["diverged"] for record in mine),
        }
        for name, mine in runs.items()
    )


def mean_accuracy(records: Iterable[Mapping[str, Any]]) -> float:
    """Returns the mean test accuracy of the runs."""
    return statistics.fmean(record["test accuracy"] for record in records)


def accuracy_range(records: Iterable[Mapping[str, Any]]) -> str:
    """Writes the lowest and the highest test accuracy of the runs."""
    found = [record["test accuracy"] for record in records]
    return f"{100 * min(found):.1f} to {max(found):.1%}"


def cost(
    records: Iterable[Mapping[str, Any]],
    baseline: Iterable[Mapping[str, Any]] | None,
    key: str,
) -> str | None:
    """Writes the ratio of the medians over the runs that were timed so."""
    mine, base = (
        [record[key] for record in runs or () if key in record]
        for runs in (records, baseline)
    )
    if not mine or not base:
        return None
    return f"{statistics.median(mine) / statistics.median(base):.2f}"


def full_summary(result: Result) -> str:
    """Returns the summary under its heading, and says what cost means."""
    return (
        f"{heading(result)}\n\n{summary(result.records)}\n\n"
        "Cost is the ratio to the best batch normalization: of the median of "
        "all steps, and of\nthe mean of the last quarter of them. Where D is "
        "not computed on every step, the\nmean of the last quarter counts: "
        "its warm-up is over."
    )


def make_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, help="folder of cifar10.npz")
    add("--epochs", type=float, default=0.5, help="may be a fraction")
    add("--batch-size", type=int, default=128)
    add("--network", choices=NETWORKS, default="vgg")
    add("--widths", type=int, nargs="+", default=(16, 32, 64))
    add("--learning-rate", type=float, default=0.1, help="of deconvolution")
    add("--seeds", type=int, nargs="+", default=(0, 1, 2))
    add(
        "--variants",
        nargs="*",
        choices=VARIANTS,
        default=tuple(VARIANTS),
        metavar="NAME",
        help=f"of {'; '.join(VARIANTS)} (default: all)",
    )
    add(
        "--batch-norm-rates",
        type=float,
        nargs="*",
        default=BATCH_NORM_RATES,
        help="learning rates of batch normalization; the best one counts",
    )
    add("--output", type=result_path, default=Path("outputs/ablation.json"))
    add(
        "--summary",
        action="store_true",
        help="print the table of the runs so far, and train nothing",
    )
    return parser


def prepare(options: argparse.Namespace) -> tuple[Training, dict[str, Any]]:
    """Returns what all runs have in common, and what the file says of it."""
    beside(options.output)
    data = load("cifar10", options.data_dir)
    if options.batch_size < 1:
        raise ValueError(
            f"a batch must hold at least one image; got {options.batch_size}"
        )
    epoch = steps_per_epoch(data, options.batch_size)
    steps = round(options.epochs * epoch)
    if steps < 1:
        raise ValueError(
            f"the epochs must make at least one step; got {options.epochs:g} "
            f"epochs of {epoch} steps"
        )
    settings = {
        "data set": "CIFAR-10",
        "training images": len(data.x_train),
        "test images": len(data.x_test),
        "epochs": options.epochs,
        "steps": steps,
        "batch size": options.batch_size,
        "network": options.network,
        "widths": "-".join(map(str, options.widths)),
        "learning rate": options.learning_rate,
    }
    training = Training(
        data, options.network, options.widths, options.batch_size, steps
    )
    return training, settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, or sums up, what the command line asks for."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        if options.summary:
            print(full_summary(read(options.output)))
            return
        environment()  # Names the commit of this code; it may move on.
        training, settings = prepare(options)
        records = recorded(options.output, settings)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    variants = make_variants(
        options.variants, options.learning_rate, options.batch_norm_rates
    )
    plan = [(s, v) for s in dict.fromkeys(options.seeds) for v in variants]
    run_missing(options.output, records, plan, training, settings)
    print(full_summary(read(options.output)))


if __name__ == "__main__":
    main()

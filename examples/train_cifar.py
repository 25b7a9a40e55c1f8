"""The paper's networks on CIFAR: batch normalization and deconvolution.

    python examples/train_cifar.py --network vgg16 --epochs 20 --seeds 0 1 2
    python examples/train_cifar.py --all
    python examples/train_cifar.py --table 4 --network resnet18 --epochs 20
    python examples/train_cifar.py --figure 8 --network vgg16 --epochs 20

SGD with momentum 0.9, a cosine schedule to zero over the run, coupled L2 on
all trainable weights, images flipped at random and cropped with a padding of
4 pixels; initial weights as PyTorch draws them. The test accuracy is taken
after every epoch. With the preset "paper", layers have the paper's own rules
(15 steps for the first one, frozen after 200 training steps, and so on).

Arguments that take several values make a run of every combination. Each run
adds a line to results.csv in the output folder, and a log of its epochs.
Started again, the script skips the runs that have a line and goes on with one
that was cut short. KERAS_BACKEND picks the backend, TensorFlow by default.

--table 4 varies the batch size, with the learning rate, epsilon and
iterations of each. The learning rates at 32 and 2048 are not known to us:
these two need --learning-rate. Which network and how many epochs, too, is for
you to say, there and with --figure 8 (weight decay 0.005 against 0.0005).
"""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from typing import Self

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from _augment import flip_and_crop
from _augment import standardise
from _batches import Batch
from _batches import Batches
from _datasets import Dataset
from _datasets import channel_moments
from _datasets import load_raw
from _distribution import check_backend
from _experiment import DECONV
from _experiment import Experiment
from _experiment import deconvolved
from _grid import add_training
from _grid import command
from _grid import make_experiments
from _grid import make_parser
from _paper import settings_for
from _recipes import FIGURE_8_WEIGHT_DECAYS
from _recipes import TABLE_1_DATASETS
from _recipes import TABLE_1_EPOCHS
from _recipes import TABLE_1_NETWORKS
from _recipes import TABLE_4
from _runs import Task
from _runs import run_all
from keras_deconv import models

# TensorFlow warns of every new model that its function is traced again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

NETWORKS = ("vgg11", "vgg13", *TABLE_1_NETWORKS)
EVALUATION_BATCH = 200


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what the command line asks for."""
    parser = options_parser()
    options = parser.parse_args(arguments)
    if options.all:
        for name in ("network", "data", "epochs"):
            if getattr(options, name) != parser.get_default(name):
                parser.error(f"--all takes no --{name}: it means all of them")
        options.network = TABLE_1_NETWORKS
        options.data = TABLE_1_DATASETS
        options.epochs = TABLE_1_EPOCHS
    try:
        experiments = plan(options)
        images = {
            name: Images.load(name, options.data_dir)
            for name in dict.fromkeys(each.dataset for each in experiments)
        }
        tasks = [
            (each, make_task(images[each.dataset], each))
            for each in experiments
        ]
        check_backend(
            options.distributed,
            [each for _, task in tasks for each in (task.train, task.test)],
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    run_all(tasks, make_command, options.output)


def options_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "--network",
        nargs="+",
        choices=NETWORKS,
        default=("vgg16",),
        metavar="NAME",
        help=f"of {', '.join(NETWORKS)} (default: vgg16)",
    )
    add(
        "--data",
        nargs="+",
        choices=TABLE_1_DATASETS,
        default=("cifar10",),
        help="default: cifar10",
    )
    add(
        "--data-dir",
        type=Path,
        help="folder of NAME.npz; without it the set is downloaded",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--all",
        action="store_true",
        help="Table 1: all networks, both sets, 1, 20 and 100 epochs",
    )
    which.add_argument(
        "--table", type=int, choices=(1, 4), default=1, help="default: 1"
    )
    which.add_argument("--figure", type=int, choices=(8,))
    add_training(
        parser,
        epochs=1,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=0.001,
        output=Path("outputs/train_cifar"),
    )
    return parser


def plan(options: argparse.Namespace) -> list[Experiment]:
    """Returns the runs that the command line asks for."""
    name = f"table {options.table}"
    if options.figure is not None:
        name = f"figure {options.figure}"
        options.weight_decay = options.weight_decay or FIGURE_8_WEIGHT_DECAYS
    if options.table == 4:
        sizes = options.batch_size or [
            size for size, line in TABLE_4.items() if line.learning_rate
        ]
        return [
            experiment
            for size in sizes
            for experiment in plan_batch_size(options, size, name)
        ]
    return [
        experiment
        for epochs in options.epochs
        for dataset in options.data
        for experiment in make_experiments(
            argparse.Namespace(**{**vars(options), "epochs": (epochs,)}),
            name,
            dataset,
        )
    ]


def plan_batch_size(
    options: argparse.Namespace, size: int, name: str
) -> list[Experiment]:
    """Returns the runs of a line of Table 4.

    Raises:
        ValueError: The table has no such line, or we do not know its rate.
    """
    if size not in TABLE_4:
        raise ValueError(
            f"The batch sizes of Table 4 are {', '.join(map(str, TABLE_4))}. "
            f"Received: --batch-size {size}"
        )
    line = TABLE_4[size]
    rates = options.learning_rate or [line.learning_rate]
    if None in rates:
        raise ValueError(
            "The learning rate of Table 4 at this batch size is not known to "
            "us, and needs --learning-rate. Received: "
            f"--batch-size {size} alone"
        )
    changed = {
        "batch_size": (size,),
        "learning_rate": rates,
        "num_iterations": options.num_iterations or line.num_iterations,
        "epsilon": options.epsilon or line.epsilon,
    }
    return [
        experiment
        for dataset in options.data
        for experiment in make_experiments(
            argparse.Namespace(**{**vars(options), **changed}), name, dataset
        )
    ]


class Images(NamedTuple):
    """A data set as bytes, and the moments of its channels."""

    data: Dataset
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def load(cls, name: str, data_dir: Path | None) -> Self:
        """Loads a set by its name."""
        data = load_raw(name, data_dir)
        return cls(data, *channel_moments(data.x_train))


def make_task(images: Images, experiment: Experiment) -> Task:
    """Returns the network and the batches of a run."""

    def build():
        data = images.data
        model = getattr(models, experiment.network)(
            num_classes=data.classes, input_shape=data.x_train.shape[1:]
        )
        is_paper = experiment.norm == DECONV and experiment.preset == "paper"
        rules = settings_for(experiment.network) if is_paper else {}
        model = deconvolved(model, experiment, **rules)
        models.initialize_like_torch(model, experiment.seed)
        return model

    return Task(build, *make_batches(images, experiment))


def make_batches(
    images: Images, experiment: Experiment
) -> tuple[Batches, Batches]:
    """Returns augmented batches to train on, and plain ones to test on."""
    data, mean, deviation = images
    y_train, y_test = (
        labels.reshape(-1).astype("int32")
        for labels in (data.y_train, data.y_test)
    )

    def augmented(picks: np.ndarray, rng: np.random.Generator) -> Batch:
        x = flip_and_crop(data.x_train[picks], rng)
        return standardise(x, mean, deviation), y_train[picks]

    def plain(picks: np.ndarray, rng: np.random.Generator) -> Batch:
        x = standardise(data.x_test[picks], mean, deviation)
        return x, y_test[picks]

    train = Batches(
        augmented,
        len(y_train),
        experiment.batch_size,
        seed=experiment.seed,
        steps=experiment.steps_per_epoch,
    )
    return train, Batches(plain, len(y_test), EVALUATION_BATCH)


def make_command(experiment: Experiment) -> str:
    """Returns the command that makes one run again."""
    which, number = experiment.experiment.split()
    return command(
        "train_cifar",
        experiment,
        *(f"--{which}", number),
        *("--data", experiment.dataset, "--data-dir", "DIR"),
    )


if __name__ == "__main__":
    main()

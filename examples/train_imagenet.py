"""ImageNet, or any folder of labelled images: batch norm or deconvolution.

    python examples/train_imagenet.py --data-dir DIR --network imagenet_resnet18

DIR holds train/CLASS/NAME.JPEG and val/CLASS/NAME.JPEG, or shards: tar files
as webdataset writes them (train/*.tar, or *train*.tar in DIR itself; NAME.jpg
has its class in NAME.cls), or TFRecords as TensorFlow's models and
tensorflow-datasets write them (train/*.tfrecord*, *train*.tfrecord*,
train*-of-*). Images are decoded in threads by Pillow: no backend needs
another to load data, but TensorFlow finds the images in TFRecords.

SGD with momentum 0.9, a cosine schedule from 0.1 to zero over 90 epochs of
batch 256, coupled L2 of 1e-4 on all trainable weights; random crops of 224
pixels, flipped at random; tested on the centre of 224 out of 256 pixels after
every epoch. With the preset "paper", our own networks have the paper's rules
for their first layer.

Arguments that take several values make a run of every combination. Each run
adds a line to results.csv in the output folder, and a log of its epochs.
Started again, the script skips the runs that have a line and goes on with one
that was cut short. KERAS_BACKEND picks the backend, TensorFlow by default.
"""

import argparse
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import _backbones
from _arguments import positive
from _batches import Batches
from _distribution import check_backend
from _experiment import DECONV
from _experiment import Experiment
from _experiment import deconvolved
from _grid import add_training
from _grid import command
from _grid import make_experiments
from _grid import make_parser
from _imagenet import Images
from _imagenet import check_classes
from _imagenet import evaluation_batch
from _imagenet import find_images
from _imagenet import training_batch
from _paper import settings_for
from _runs import Task
from _runs import run_all

# TensorFlow warns of every new model that its function is traced again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

EVALUATION_BATCH = 200
# Classes, images to train on and to test on.
IMAGENET = 1000, 1281167, 50000


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what the command line asks for."""
    parser = options_parser()
    options = parser.parse_args(arguments)
    try:
        train, test = (
            find_images(options.data_dir, split) for split in ("train", "val")
        )
        check_classes(train, test)
        for name in options.network:
            _backbones.check(name)
        experiments = make_experiments(
            options,
            "imagenet",
            describe(train, test),
            image_size=options.image_size,
            network_arguments=options.network_arguments,
        )
        tasks = [
            (each, make_task(train, test, each, options))
            for each in experiments
        ]
        check_backend(
            options.distributed,
            [each for _, task in tasks for each in (task.train, task.test)],
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    run_all(tasks, make_command, options.output)


def describe(train: Images, test: Images) -> str:
    """Returns what tells data sets apart: ImageNet's name, or all counts."""
    classes = int(train.labels.max()) + 1
    counts = classes, len(train.labels), len(test.labels)
    if counts == IMAGENET:
        return "imagenet"
    return "{} classes, {} + {} images".format(*counts)


def options_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, metavar="DIR")
    add(
        "--network",
        nargs="+",
        default=("imagenet_resnet18",),
        metavar="NAME",
        help=f"{_backbones.HELP} (default: imagenet_resnet18)",
    )
    add(
        "--network-arguments",
        type=json_object,
        metavar="JSON",
        help="more arguments of the network's constructor, as a JSON object",
    )
    add("--image-size", type=positive(int), default=224, help="default: 224")
    add(
        "--threads",
        type=positive(int),
        default=os.cpu_count() or 1,
        help="that decode images (default: one for each core)",
    )
    add_training(
        parser,
        epochs=90,
        batch_size=256,
        learning_rate=0.1,
        weight_decay=1e-4,
        output=Path("outputs/train_imagenet"),
    )
    return parser


def json_object(text: str) -> str:
    """An argument type: a JSON object, as text."""
    if not isinstance(json.loads(text), dict):
        raise ValueError(text)
    return text


def make_task(
    train: Images,
    test: Images,
    experiment: Experiment,
    options: argparse.Namespace,
) -> Task:
    """Returns the network and the batches of a run."""
    size, threads = options.image_size, options.threads

    def build():
        model = _backbones.build(
            experiment.network,
            int(train.labels.max()) + 1,
            (size, size, 3),
            json.loads(experiment.network_arguments or "{}"),
            experiment.seed,
        )
        return deconvolved(model, experiment, **rules(experiment))

    return Task(
        build,
        Batches(
            training_batch(train, size),
            len(train.labels),
            experiment.batch_size,
            seed=experiment.seed,
            steps=experiment.steps_per_epoch,
            threads=threads,
        ),
        Batches(
            evaluation_batch(test, size),
            len(test.labels),
            EVALUATION_BATCH,
            threads=threads,
        ),
    )


def rules(experiment: Experiment) -> dict[str, object]:
    """Returns the paper's settings for our networks, none for others."""
    is_ours = experiment.network.startswith(_backbones.OURS)
    if experiment.norm == DECONV and experiment.preset == "paper" and is_ours:
        return settings_for(experiment.network)
    return {}


def make_command(experiment: Experiment) -> str:
    """Returns the command that makes one run again."""
    return command("train_imagenet", experiment, "--data-dir", "DIR")


if __name__ == "__main__":
    main()

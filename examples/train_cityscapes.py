"""Segmentation of Cityscapes: batch normalization and deconvolution.

    python examples/train_cityscapes.py --data-dir DIR

DIR holds leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and
gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png. Of the labels, the 19 classes of
the benchmark count; the rest is ignored, in the loss and in the metrics.

DeepLabV3 with a ResNet50 from random weights: SGD with momentum 0.9, a rate
of 0.1 that falls as (1 - step / steps) ** 0.9 over 30 epochs of batch 8,
coupled L2 of 1e-4 on all trainable weights. Images are scaled at random, by
0.5 to 2, flipped at random and cropped to 480 x 480. For the test after each
epoch, images are scaled to a height of 480 and cut into squares. With the
preset "paper", our networks have the paper's rules.

Arguments that take several values make a run of every combination. Each run
adds a line to results.csv in the output folder, and a log of its epochs.
Started again, the script skips the runs that have a line and goes on with one
that was cut short. KERAS_BACKEND picks the backend, TensorFlow by default.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from _arguments import positive
from _batches import Batches
from _cityscapes import CLASSES
from _cityscapes import IGNORED
from _cityscapes import Pair
from _cityscapes import evaluation_batch
from _cityscapes import find_pairs
from _cityscapes import training_batch
from _distribution import check_backend
from _experiment import DECONV
from _experiment import Experiment
from _experiment import deconvolved
from _grid import add_training
from _grid import command
from _grid import make_experiments
from _grid import make_parser
from _metrics import PixelAccuracy
from _optimizer import polynomial_sgd
from _paper import settings_for
from _runs import Task
from _runs import run_all
from keras_deconv import models

# TensorFlow warns of every new model that its function is traced again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

NETWORKS = ("deeplabv3_resnet50",)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what the command line asks for."""
    parser = options_parser()
    options = parser.parse_args(arguments)
    try:
        train, test = (
            find_pairs(options.data_dir, split) for split in ("train", "val")
        )
        experiments = make_experiments(
            options, "cityscapes", "cityscapes", image_size=options.image_size
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


def options_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, metavar="DIR")
    add("--network", nargs="+", choices=NETWORKS, default=NETWORKS)
    add("--image-size", type=positive(int), default=480, help="default: 480")
    add(
        "--threads",
        type=positive(int),
        default=os.cpu_count() or 1,
        help="that load images (default: one for each core)",
    )
    add_training(
        parser,
        epochs=30,
        batch_size=8,
        learning_rate=0.1,
        weight_decay=1e-4,
        output=Path("outputs/train_cityscapes"),
    )
    return parser


def make_task(
    train: Sequence[Pair],
    test: Sequence[Pair],
    experiment: Experiment,
    options: argparse.Namespace,
) -> Task:
    """Returns the network, the batches and the metrics of a run."""
    crop, threads = options.image_size, options.threads

    def build():
        model = getattr(models, experiment.network)(
            num_classes=CLASSES, input_shape=(crop, crop, 3)
        )
        is_paper = experiment.norm == DECONV and experiment.preset == "paper"
        rules = settings_for(experiment.network) if is_paper else {}
        model = deconvolved(model, experiment, **rules)
        models.initialize_like_torch(model, experiment.seed)
        return model

    return Task(
        build,
        Batches(
            training_batch(train, crop),
            len(train),
            experiment.batch_size,
            seed=experiment.seed,
            steps=experiment.steps_per_epoch,
            threads=threads,
        ),
        Batches(
            evaluation_batch(test, crop),
            len(test),
            experiment.batch_size,
            threads=threads,
        ),
        loss=make_loss,
        metrics=make_metrics,
        optimizer=polynomial_sgd,
    )


def make_loss() -> keras.losses.Loss:
    """Returns the mean cross-entropy of the pixels that have a class."""
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=IGNORED
    )


def make_metrics() -> list[keras.metrics.Metric]:
    """Returns pixel accuracy and mean intersection over union."""
    return [
        PixelAccuracy(IGNORED),
        keras.metrics.MeanIoU(
            CLASSES,
            ignore_class=IGNORED,
            sparse_y_pred=False,
            name="mean_iou",
        ),
    ]


def make_command(experiment: Experiment) -> str:
    """Returns the command that makes one run again."""
    return command("train_cityscapes", experiment, "--data-dir", "DIR")


if __name__ == "__main__":
    main()

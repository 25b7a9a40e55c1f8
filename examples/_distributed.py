"""What the examples of distributed training share."""

import argparse
import itertools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_deconv
from _datasets import Dataset
from _network import build_network
from _training import accuracy
from _training import batches
from _training import compile_model
from _training import steps_per_epoch


def check_batch(batch_size: int, parts: int) -> None:
    """Raises ValueError unless every device gets as many images."""
    if batch_size % parts:
        raise ValueError(
            "the batch must be divisible by the number of devices; got "
            f"{batch_size} images for {parts} devices"
        )


def make_model(
    options: argparse.Namespace, data: Dataset, **settings: Any
) -> keras.Model:
    """Builds and compiles the deconvolved network, or reads the checkpoint.

    The checkpoint holds what training goes on from: weights, statistics,
    and the state of the optimizer, which counts the steps.
    """
    if options.resume:
        return keras.models.load_model(options.checkpoint)
    keras.utils.set_random_seed(options.seed)
    model = build_network(data.x_train.shape[1:], data.classes, options.widths)
    model = keras_deconv.deconvolutionize(model, synchronized=True, **settings)
    compile_model(model, options.learning_rate, count_steps(options, data))
    model.optimizer.build(model.trainable_variables)
    return model


def count_steps(options: argparse.Namespace, data: Dataset) -> int:
    """Returns how many steps the whole training has."""
    epoch = steps_per_epoch(data, options.batch_size)
    return options.steps or max(1, round(options.epochs * epoch))


def train(
    model: keras.Model,
    data: Dataset,
    options: argparse.Namespace,
    step: Callable[[np.ndarray, np.ndarray], Any],
    is_chief: bool = True,
) -> None:
    """Trains on, from wherever the model is, and writes checkpoints.

    Args:
        model: What `step` trains.
        data: The order of its batches depends on the seed alone.
        options: The command line.
        step: Takes images and labels of the whole batch, whichever part of
            it this process trains on, and returns their loss.
        is_chief: Whether this process is the one that writes and reports.
    """
    steps = count_steps(options, data)
    done = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    order = batches(len(data.x_train), options.batch_size, options.seed)
    losses = []
    for index, picks in enumerate(itertools.islice(order, steps), 1):
        if index <= done:
            continue
        losses.append(float(step(data.x_train[picks], data.y_train[picks])))
        is_last = index == steps
        if is_chief and (is_last or index % options.checkpoint_every == 0):
            save(model, options.checkpoint)
            loss = statistics.fmean(losses)
            print(f"step {index} of {steps}: loss {loss:.4f}", flush=True)
            losses.clear()


def save(model: keras.Model, path: Path) -> None:
    """Writes a checkpoint. If that fails, the one before it stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    model.save(unfinished)
    unfinished.replace(path)


def report(path: Path, data: Dataset) -> None:
    """Predicts by the file alone, folded, on one device."""
    model = keras_deconv.fold(keras.models.load_model(path))
    share = accuracy(model, data.x_test, data.y_test)
    print(f"test accuracy {share:.1%}, by {path}")

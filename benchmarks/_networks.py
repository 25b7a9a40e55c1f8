"""The networks that are timed, in every form."""

import argparse
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The small network is that of the examples.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import keras
import numpy as np

import keras_deconv
from _network import build_network
from _results import read
from _results import result_path
from _results import write
from keras_deconv import models
from render import report

BATCH_NORM = "batch normalization"
PLAIN = "plain convolutions"

# How to build each network, and the side of its images.
NETWORKS: dict[str, tuple[Callable[[], keras.Model], int]] = {
    "small": (lambda: build_network((32, 32, 3), 10, (16, 32, 64)), 32),
    "medium": (lambda: build_network((32, 32, 3), 10, (32, 64, 128)), 32),
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

FORMS = (
    BATCH_NORM,
    PLAIN,
    *(f"deconvolution, {preset}" for preset in keras_deconv.PRESETS),
)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Describes what every benchmark of whole networks takes."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", choices=NETWORKS, default="vgg11")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--output", type=result_path)
    return parser


def publish(
    script: str,
    question: str,
    options: argparse.Namespace,
    records: Sequence[Mapping[str, Any]],
) -> None:
    """Writes the result file of a script of `make_parser`, and prints it."""
    backend = keras.backend.backend()
    output = options.output or Path(
        f"outputs/{script}_{options.network}_{backend}.json"
    )
    arguments = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if name != "output" and value is not None
    ]
    command = f"python benchmarks/{script}.py {' '.join(arguments)}"
    write(output, question, command, records)
    print(report(read(output)))


def add_ratios(records: Sequence[dict[str, Any]], figure: str) -> None:
    """Adds to each form how a figure of it is to that of the normalized."""
    (base,) = (r[figure] for r in records if r["form"] == BATCH_NORM)
    for record in records:
        record[f"ratio to {BATCH_NORM}"] = record[figure] / base


def forms(name: str) -> dict[str, keras.Model]:
    """Returns a network in every form."""
    return {form: make_form(name, form) for form in FORMS}


def make_form(name: str, form: str) -> keras.Model:
    """Returns a network in one form; a deconvolved one is warmed up."""
    build, _ = NETWORKS[name]
    if form == BATCH_NORM:
        return build()
    preset = form.removeprefix("deconvolution, ")
    twin = keras_deconv.deconvolutionize(
        build(), preset=None if form == PLAIN else preset, warmup_steps=0
    )
    return keras_deconv.fold(twin) if form == PLAIN else twin


def batch(name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random images and labels for a network."""
    _, side = NETWORKS[name]
    rng = np.random.default_rng(0)
    images = rng.normal(size=(size, side, side, 3)).astype("float32")
    return images, rng.integers(0, 10, size)


def prepare(model: keras.Model) -> None:
    """Compiles a model for steps that hardly change it."""
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

"""Regression of ten classes by a single linear layer: figure 5 a, b.

    python examples/linear_regression.py --seeds 0 1 2

The layer has the pixels of Fashion-MNIST as inputs and is trained on L2 loss
(mean squared error of one-hot targets) and on logistic loss (softmax cross
entropy), by plain gradient descent. Without deconvolution it takes a small
learning rate: L2 loss diverges above 0.09, which is two over the largest
eigenvalue of the Hessian. With deconvolution all directions have the same
curvature, and the rate is 1.

As in the authors' code, images are between 0 and 1, a batch has 512, and all
784 pixels are whitened together, by five Newton-Schulz steps.

KERAS_BACKEND picks the backend, TensorFlow by default.
"""

import logging
import os
import warnings
from collections.abc import Sequence

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse

import keras
from matplotlib.figure import Figure
from rich.console import Console

import keras_deconv
from _arguments import positive
from _comparison import DECONV
from _convergence import PLAIN
from _convergence import Method
from _convergence import Trace
from _convergence import collect
from _convergence import train_all
from _convergence_report import draw_losses
from _convergence_report import results_table
from _datasets import CLASSES
from _datasets import Dataset
from _datasets import load
from _environment import record
from _options import command
from _options import make_parser
from _training import steps_per_epoch

# TensorFlow warns of every new model that its function is traced again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

OBJECTIVES = {
    "L2": keras.losses.MeanSquaredError,
    "logistic": lambda: keras.losses.CategoricalCrossentropy(from_logits=True),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison that the command line asks for."""
    parser = describe_options()
    options = parser.parse_args(arguments)
    console = Console()
    # 512 samples of 784 features: the authors' batch.
    warnings.simplefilter("ignore", keras_deconv.SmallBatchWarning)
    try:
        data = flat_pixels(load(options.dataset, options.data_dir))
        epoch = steps_per_epoch(data, options.batch_size)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    steps = options.steps or epoch
    features = data.x_train.shape[1]
    methods = [
        Method(PLAIN, rate, lambda: plain_layer(features))
        for rate in options.learning_rates
    ]
    methods.append(
        Method(
            DECONV,
            options.deconv_rate,
            lambda: deconv_layer(features, options.block_size or features),
        )
    )
    runs = train_all(
        data,
        methods,
        OBJECTIVES,
        seeds=options.seeds,
        steps=steps,
        batch_size=options.batch_size,
    )
    traces = collect(runs, options.output)
    console.print(results_table(traces))
    record(options.output, command("linear_regression", arguments))
    title = (
        f"{options.dataset}, one linear layer, batch {options.batch_size}, "
        f"seeds {', '.join(map(str, options.seeds))}"
    )
    path = options.output / "linear_regression.png"
    draw(traces, title).savefig(path, dpi=110)
    console.print(f"Curves: {path}", soft_wrap=True)


def describe_options() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = make_parser(
        __doc__, "linear_regression", ("fashion_mnist", "mnist")
    )
    add = parser.add_argument
    add("--seeds", "--seed", type=int, nargs="+", default=[0])
    add("--steps", type=positive(int), help="default: one epoch")
    add("--batch-size", type=positive(int), default=512)
    add(
        "--learning-rates",
        type=positive(float),
        nargs="+",
        default=[0.02, 0.05, 0.1],
        help="without deconvolution (default: 0.02 0.05 0.1)",
    )
    add("--deconv-rate", type=positive(float), default=1.0)
    add(
        "--block-size",
        type=positive(int),
        help="features that are whitened together (default: all)",
    )
    return parser


def flat_pixels(data: Dataset) -> Dataset:
    """Returns images as vectors, between 0 and 1 over the training set."""
    black, white = data.x_train.min(), data.x_train.max()
    x_train, x_test = (
        ((x - black) / (white - black)).reshape(len(x), -1)
        for x in (data.x_train, data.x_test)
    )
    return data._replace(x_train=x_train, x_test=x_test)


def plain_layer(features: int) -> keras.Model:
    """Builds the linear layer."""
    return keras.Sequential(
        [keras.Input((features,)), keras.layers.Dense(CLASSES)]
    )


def deconv_layer(features: int, block_size: int) -> keras.Model:
    """Builds the linear layer with deconvolution, as the authors' code."""
    layer = keras_deconv.DeconvDense(
        CLASSES, block_size=block_size, num_iterations=5, update_every=1
    )
    return keras.Sequential([keras.Input((features,)), layer])


def draw(traces: Sequence[Trace], title: str) -> Figure:
    """Draws a panel for each loss."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    panels = figure.subplots(1, len(OBJECTIVES))
    for axes, objective in zip(panels, OBJECTIVES, strict=True):
        own = [trace for trace in traces if trace.objective == objective]
        highest = 3 * max(trace.losses[0] for trace in own)
        draw_losses(axes, own, highest)
        axes.set_title(f"{objective} loss")
    figure.legend(
        *panels[-1].get_legend_handles_labels(),
        loc="outside lower center",
        title="network, learning rate",
        ncols=len(panels[-1].lines),
    )
    figure.suptitle(title)
    return figure


if __name__ == "__main__":
    main()

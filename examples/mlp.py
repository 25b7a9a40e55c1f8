"""A multilayer perceptron, three ways: figure 5 c, d.

    python examples/mlp.py --seeds 0 1 2

Three hidden layers of 128 sigmoid units, trained on MNIST: as it is, with
batch normalization, and with deconvolution in front of every layer. All have
the same kernels and batches; the learning rates are those of the command
line, each for every network.

As in the authors' code, a batch has 512 images, momentum is 0.9, and dense
layers are whitened in blocks of up to 512 features by five Newton-Schulz
steps. (784 pixels are no multiple of 512: their blocks have 16.)

KERAS_BACKEND picks the backend, TensorFlow by default.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from functools import partial

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from matplotlib.figure import Figure
from rich.console import Console

import keras_deconv
from _arguments import positive
from _comparison import BATCH_NORM
from _comparison import DECONV
from _convergence import PLAIN
from _convergence import Method
from _convergence import Trace
from _convergence import collect
from _convergence import train_all
from _convergence_report import best_of_each
from _convergence_report import draw_accuracies
from _convergence_report import draw_losses
from _convergence_report import results_table
from _datasets import CLASSES
from _datasets import load
from _environment import record
from _options import command
from _options import make_parser
from _training import MOMENTUM
from _training import steps_per_epoch

# TensorFlow warns of every new model that its function is traced again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

HIDDEN_LAYERS = 3
UNITS = 128
# The authors' block of dense layers.
BLOCK_SIZE = 512


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison that the command line asks for."""
    parser = describe_options()
    options = parser.parse_args(arguments)
    console = Console()
    try:
        data = load(options.dataset, options.data_dir)
        epoch = steps_per_epoch(data, options.batch_size)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    shape = data.x_train.shape[1:]
    methods = [
        Method(network, rate, partial(build, shape))
        for network, build in NETWORKS.items()
        for rate in options.learning_rates
    ]
    runs = train_all(
        data,
        methods,
        {
            "logistic": lambda: keras.losses.CategoricalCrossentropy(
                from_logits=True
            )
        },
        seeds=options.seeds,
        steps=options.steps or epoch,
        batch_size=options.batch_size,
        momentum=MOMENTUM,
    )
    traces = collect(runs, options.output)
    console.print(results_table(traces))
    record(options.output, command("mlp", arguments))
    title = (
        f"{options.dataset}, {HIDDEN_LAYERS} hidden layers of {UNITS} sigmoid "
        f"units, batch {options.batch_size}, seeds "
        f"{', '.join(map(str, options.seeds))}; the best of "
        f"{len(options.learning_rates)} rates each"
    )
    path = options.output / "mlp.png"
    draw(best_of_each(traces), title).savefig(path, dpi=110)
    console.print(f"Curves: {path}", soft_wrap=True)


def describe_options() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = make_parser(__doc__, "mlp", ("mnist", "fashion_mnist"))
    add = parser.add_argument
    add("--seeds", "--seed", type=int, nargs="+", default=[0])
    add("--steps", type=positive(int), help="default: one epoch")
    add("--batch-size", type=positive(int), default=512)
    add(
        "--learning-rates",
        type=positive(float),
        nargs="+",
        default=[0.02, 0.1, 0.5],
        help="of every network (default: 0.02 0.1 0.5)",
    )
    return parser


def plain_mlp(shape: tuple[int, ...]) -> keras.Model:
    """Builds the perceptron as it is."""
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten()])
    for _ in range(HIDDEN_LAYERS):
        model.add(keras.layers.Dense(UNITS, activation="sigmoid"))
    model.add(keras.layers.Dense(CLASSES))
    return model


def batch_norm_mlp(shape: tuple[int, ...]) -> keras.Model:
    """Builds the perceptron with batch normalization before each sigmoid.

    The averages follow with momentum 0.9, PyTorch's default: the runs are
    short.
    """
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten()])
    for _ in range(HIDDEN_LAYERS):
        model.add(keras.layers.Dense(UNITS, use_bias=False))
        model.add(keras.layers.BatchNormalization(momentum=0.9))
        model.add(keras.layers.Activation("sigmoid"))
    model.add(keras.layers.Dense(CLASSES))
    return model


def deconv_mlp(shape: tuple[int, ...]) -> keras.Model:
    """Builds the perceptron with deconvolution before every product."""
    settings = {
        "block_size": BLOCK_SIZE,
        "num_iterations": 5,
        "update_every": 1,
    }
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten()])
    for _ in range(HIDDEN_LAYERS):
        model.add(
            keras_deconv.DeconvDense(UNITS, activation="sigmoid", **settings)
        )
    model.add(keras_deconv.DeconvDense(CLASSES, **settings))
    return model


NETWORKS = {
    PLAIN: plain_mlp,
    BATCH_NORM: batch_norm_mlp,
    DECONV: deconv_mlp,
}


def draw(traces: Sequence[Trace], title: str) -> Figure:
    """Draws the loss and the test accuracy."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    draw_losses(losses, traces, highest=10 * traces[0].losses[0])
    draw_accuracies(accuracies, traces)
    accuracies.legend(title="network, learning rate")
    figure.suptitle(title, fontsize="medium")
    return figure


if __name__ == "__main__":
    main()

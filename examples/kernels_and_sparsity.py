"""What deconvolution does to real images: figures 2, 3, 4, 10 and 11.

    python examples/kernels_and_sparsity.py

- kernels.png: the kernels by which D whitens each colour channel (figure 2);
- covariance.png: the covariance of patches before and after (figure 3);
- images.png: images, and the same deconvolved (figure 4);
- densities.png: how pixels are distributed before and after (figure 10);
- hidden.png, hidden_densities.png: the same of a hidden layer, after a little
  training (figure 11);
- spectra.png, conditions.png: eigenvalues and condition numbers of every
  layer of that network.

KERAS_BACKEND picks the backend, TensorFlow by default.
"""

import argparse
import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

import keras_deconv
from _arguments import positive
from _datasets import CLASSES
from _datasets import SAMPLE
from _datasets import Dataset
from _datasets import load
from _environment import record
from _network import build_network
from _options import command
from _options import make_parser
from _training import train
from keras_deconv import visualization
from keras_deconv.layers import condition_number
from keras_deconv.layers import measure_whiteness

COVARIANCE_SIZE = 5
SHOWN_IMAGES = 6
WIDTHS = (16, 32)
# Of the four convolutions, the third: it sees 16 channels.
HIDDEN_LAYER = 2
LEARNING_RATE = 0.1


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws all figures that the command line asks for."""
    parser = describe_options()
    options = parser.parse_args(arguments)
    console = Console()
    try:
        data = load(options.dataset, options.data_dir)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    picks = np.random.default_rng(options.seed).permutation(len(data.x_train))
    images = data.x_train[picks[: options.images]]
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {
        "pixels": draw_pixels(images, options, folder),
        "hidden layer": draw_hidden(data, images, options, folder),
    }
    write_log(numbers, folder / "numbers.csv")
    record(options.output, command("kernels_and_sparsity", arguments))
    for name, row in numbers.items():
        for quantity, (before, after) in row.items():
            console.print(f"{name}, {quantity}: {before:.3g} -> {after:.3g}")
    console.print(f"Figures: {folder}", soft_wrap=True)


def describe_options() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = make_parser(
        __doc__, "kernels_and_sparsity", (SAMPLE, "cifar10", "fashion_mnist")
    )
    add = parser.add_argument
    add("--seed", type=int, default=0, help="of the images and the training")
    add(
        "--images",
        type=positive(int),
        default=1000,
        help="how many the statistics are taken of (default: 1000)",
    )
    add(
        "--kernel-size",
        type=positive(int),
        default=15,
        help="side of the kernels in figures 2 and 4, odd (default: 15)",
    )
    add(
        "--iterations",
        type=positive(int),
        default=15,
        help="Newton-Schulz steps for these, as many as the paper takes in "
        "the first layer (default: 15)",
    )
    add(
        "--steps",
        type=positive(int),
        default=100,
        help="training steps of the network of figure 11 (default: 100)",
    )
    add("--batch-size", type=positive(int), default=64)
    return parser


def draw_pixels(
    images: np.ndarray, options: argparse.Namespace, folder: Path
) -> dict[str, tuple[float, float]]:
    """Draws figures 2, 3, 4 and 10, and returns numbers before and after."""
    layer = image_whitener(images, options.kernel_size, options.iterations)
    save(visualization.plot_deconv_kernels(layer), folder / "kernels.png")
    shown = images[:SHOWN_IMAGES]
    save(compare_images(shown, whiten(layer, shown)), folder / "images.png")
    whitened = whiten(layer, images)
    save(
        visualization.plot_densities(
            {"pixels": images, "deconvolved pixels": whitened}
        ),
        folder / "densities.png",
    )
    small = image_whitener(images, COVARIANCE_SIZE, options.iterations)
    save(
        visualization.plot_covariances(small, images),
        folder / "covariance.png",
    )
    (found,) = measure_whiteness(small, images)
    return {
        "condition": (found.condition, condition_number(found.whitened)),
        "excess kurtosis": (kurtosis(images), kurtosis(whitened)),
    }


def image_whitener(images: np.ndarray, size: int, iterations: int) -> Any:
    """Returns a layer that whitens images and does nothing else.

    Its kernel passes the centre of each patch on. All channels and taps are
    one block, whose statistics are those of the images.
    """
    channels = images.shape[-1]
    layer = keras_deconv.DeconvConv2D(
        channels,
        size,
        block_size=channels,
        num_iterations=iterations,
        sampling_stride=3,
        name=f"patches_of_{size}_x_{size}",
    )
    layer.build((None, *images.shape[1:]))
    kernel = np.zeros(layer.kernel.shape, "float32")
    kernel[size // 2, size // 2] = np.eye(channels)
    layer.kernel.assign(kernel)
    (statistics,) = layer.all_statistics()
    statistics.assign(*statistics.batch.deconv(images))
    return layer


def whiten(layer: Any, images: np.ndarray) -> np.ndarray:
    """Returns the deconvolved images, in the size that they had.

    At the border they are mirrored: zeros there would be edges.
    """
    reach = layer.kernel_size[0] // 2
    widths = [(0, 0), (reach, reach), (reach, reach), (0, 0)]
    padded = np.pad(images, widths, mode="reflect")
    parts = [
        keras.ops.convert_to_numpy(layer(part, training=False))
        for part in np.array_split(padded, -(-len(padded) // 100))
    ]
    return np.concatenate(parts)


def compare_images(images: np.ndarray, whitened: np.ndarray) -> Figure:
    """Draws images above the same deconvolved."""
    return draw_rows({"images": images, "deconvolved": whitened})


def draw_hidden(
    data: Dataset,
    images: np.ndarray,
    options: argparse.Namespace,
    folder: Path,
) -> dict[str, tuple[float, float]]:
    """Draws figure 11 and the layers of the network that it is taken from."""
    model = trained_network(data, options)
    features, layer = hidden_features(model, images)
    whitened = whiten_features(layer, features)
    shown = np.moveaxis(features[0], -1, 0)[:SHOWN_IMAGES]
    shown_after = np.moveaxis(whitened[0], -1, 0)[:SHOWN_IMAGES]
    save(
        draw_rows({"input": shown, "deconvolved": shown_after}),
        folder / "hidden.png",
    )
    save(
        visualization.plot_densities(
            {"input of the layer": features, "deconvolved": whitened}
        ),
        folder / "hidden_densities.png",
    )
    batch = images[: 4 * options.batch_size]
    save(visualization.plot_spectra(model, batch), folder / "spectra.png")
    save(visualization.plot_conditions(model, batch), folder / "conditions.png")
    (found,) = measure_whiteness(layer, features)
    return {
        "condition": (found.condition, condition_number(found.whitened)),
        "excess kurtosis": (kurtosis(features), kurtosis(whitened)),
    }


def trained_network(data: Dataset, options: argparse.Namespace) -> keras.Model:
    """Trains a deconvolved network of four convolutions a little."""
    keras.utils.set_random_seed(options.seed)
    model = build_network(data.x_train.shape[1:], CLASSES, WIDTHS)
    model = keras_deconv.deconvolutionize(model, preset="paper")
    # Four tests of 200 images are enough to see that it learns.
    tested = data._replace(x_test=data.x_test[:200], y_test=data.y_test[:200])
    with Progress() as progress:
        task = progress.add_task("training", total=options.steps)
        train(
            model,
            tested,
            learning_rate=LEARNING_RATE,
            batch_size=options.batch_size,
            steps=options.steps,
            seed=options.seed,
            on_step=lambda: progress.advance(task),
        )
    return model


def hidden_features(
    model: keras.Model, images: np.ndarray
) -> tuple[np.ndarray, Any]:
    """Returns what a hidden layer sees, and the layer."""
    found = [
        layer
        for layer in model.layers
        if isinstance(layer, keras_deconv.DeconvConv2D)
    ]
    layer = found[HIDDEN_LAYER]
    below = keras.Model(model.inputs, layer.input)
    return below.predict(images, batch_size=100, verbose=0), layer


def whiten_features(layer: Any, features: np.ndarray) -> np.ndarray:
    """Returns what a layer makes of its input before the kernel, centred.

    The centre tap of each patch, whitened in its place.
    """
    kernels = np.moveaxis(visualization.deconv_kernels(layer), 0, -1)
    outputs = keras.ops.conv(features, kernels, padding="same")
    outputs = keras.ops.convert_to_numpy(outputs)
    return outputs - outputs.mean(axis=(0, 1, 2))


def draw_rows(rows: dict[str, np.ndarray]) -> Figure:
    """Draws rows of images, each row over three deviations from its mean."""
    count = max(map(len, rows.values()))
    figure = Figure(
        figsize=(1.7 * count + 0.4, 1.8 * len(rows)), layout="constrained"
    )
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        centred = images - images.mean()
        grey = np.clip(0.5 + centred / (6 * images.std()), 0, 1)
        for axes, image in zip(line, grey, strict=False):
            # Colours are shown as they are, whatever is said of grey.
            axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        for axes in line:
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    return figure


def kurtosis(values: np.ndarray) -> float:
    """Returns the excess kurtosis: 0 for a normal distribution."""
    centred = values.ravel().astype("float64") - values.mean(dtype="float64")
    return float(np.mean(centred**4) / np.mean(centred**2) ** 2 - 3)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure."""
    figure.savefig(path, dpi=100)


def write_log(
    numbers: dict[str, dict[str, tuple[float, float]]], path: Path
) -> None:
    """Writes a row for every number, before and after."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "quantity", "before", "after"])
        for name, row in numbers.items():
            for quantity, pair in row.items():
                writer.writerow([name, quantity, *pair])


if __name__ == "__main__":
    main()

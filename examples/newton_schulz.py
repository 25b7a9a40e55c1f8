"""Why Newton-Schulz iteration is coupled: figure 7.

    python examples/newton_schulz.py

The inverse square root D of a covariance A, of the 27 pixels of patches of 3
by 3 in real images. Coupled iteration takes Y to the root and Z to its
inverse (`keras_deconv.ops.inverse_sqrt`):

    T = (3 I - Z Y) / 2,    Y <- Y T,    Z <- T Z.

The plain iteration is the same in exact arithmetic,

    Z <- (3 Z - Z^3 A) / 2,

but not stable: rounding errors that do not commute with A grow with its
condition number, step by step.

KERAS_BACKEND picks the backend, TensorFlow by default.
"""

import argparse
import csv
import os
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

import keras_deconv
from _arguments import positive
from _datasets import SAMPLE
from _datasets import load
from _environment import record
from _options import command
from _options import make_parser
from _plot import FAINT

TAPS = (3, 3)
EPSILON = 1e-5
COUPLED, PLAIN, EXACT = "coupled, float32", "plain, float32", "plain, float64"
STYLES: dict[str, dict[str, Any]] = {
    COUPLED: {"color": "tab:orange", "marker": "o", "markersize": 4},
    PLAIN: {"color": "tab:blue", "marker": "s", "markersize": 4},
    EXACT: {"color": "dimgray", "linestyle": ":"},
}
# Beyond this the plain iteration is off the picture.
HIGHEST_ERROR = 1e3


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison that the command line asks for."""
    parser = describe_options()
    options = parser.parse_args(arguments)
    console = Console()
    try:
        data = load(options.dataset, options.data_dir)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    picks = np.random.default_rng(options.seed).permutation(len(data.x_train))
    images = data.x_train[picks[: options.images]]
    matrix = patch_covariance(images)
    values = np.linalg.eigvalsh(np.asarray(matrix, "float64"))
    condition = values[-1] / values[0]
    console.print(
        f"Covariance of {len(matrix)} pixels of {options.dataset}, "
        f"{len(images):,} images: condition number {condition:,.0f}"
    )
    errors = measure(matrix, options.iterations)
    options.output.mkdir(parents=True, exist_ok=True)
    write_log(errors, options.output / "errors.csv")
    record(options.output, command("newton_schulz", arguments))
    for name, curve in errors.items():
        best = int(np.nanargmin(curve))
        console.print(
            f"{name}: smallest error {curve[best]:.2g} after {best + 1} "
            f"steps, {curve[-1]:.2g} after {len(curve)}"
        )
    path = options.output / "newton_schulz.png"
    title = (
        f"Inverse square root of a {len(matrix)} x {len(matrix)} covariance "
        f"of {options.dataset}, condition number {condition:,.0f}"
    )
    draw(errors, title).savefig(path, dpi=110)
    console.print(f"Curves: {path}", soft_wrap=True)


def describe_options() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = make_parser(__doc__, "newton_schulz", (SAMPLE, "cifar10"))
    add = parser.add_argument
    add("--seed", type=int, default=0, help="of the choice of images")
    add("--images", type=positive(int), default=1000)
    add("--iterations", type=positive(int), default=30)
    return parser


def patch_covariance(images: np.ndarray) -> np.ndarray:
    """Returns the covariance of patches, with the ridge, in float32."""
    patches = keras_deconv.ops.sampled_patches(
        keras.ops.convert_to_tensor(images), TAPS, sampling_stride=3
    )
    channels, taps = patches.shape[-2:]
    blocks = keras_deconv.ops.Blocks(channels, taps, block_size=channels)
    columns = keras_deconv.ops.split_columns(patches, blocks)
    mean = keras_deconv.ops.mean(columns)
    matrix = keras_deconv.ops.covariance(columns, mean, EPSILON)
    return keras.ops.convert_to_numpy(matrix)[0]


def measure(matrix: np.ndarray, iterations: int) -> dict[str, list[float]]:
    """Returns the error of D after every step.

    That is the Frobenius norm of the difference from the exact D, by
    eigenvalues in float64, relative to the norm of the exact D.
    """
    exact = exact_inverse_sqrt(np.asarray(matrix, "float64"))
    tensor = keras.ops.convert_to_tensor(matrix)
    coupled = (
        keras_deconv.ops.inverse_sqrt(tensor, steps)
        for steps in range(1, iterations + 1)
    )
    runs = {
        COUPLED: coupled,
        PLAIN: plain_iteration(tensor),
        EXACT: plain_iteration(np.asarray(matrix, "float64")),
    }
    errors: dict[str, list[float]] = {name: [] for name in runs}
    # What diverges ends in infinities.
    with np.errstate(all="ignore"):
        for _ in track(range(iterations), "Newton-Schulz steps"):
            for name, run in runs.items():
                deconv = np.asarray(keras.ops.convert_to_numpy(next(run)))
                difference = np.linalg.norm(deconv - exact)
                errors[name].append(float(difference / np.linalg.norm(exact)))
    return errors


def plain_iteration(matrix: Any) -> Iterator[Any]:
    """Yields D after every step, in the dtype of the matrix.

    Works on arrays and on tensors alike.
    """
    sum_all = keras.ops.sum if keras.ops.is_tensor(matrix) else np.sum
    norm = sum_all(matrix * matrix) ** 0.5
    scaled = matrix / norm
    z = 0 * scaled + np.eye(len(matrix), dtype="float32")
    while True:
        z = 1.5 * z - 0.5 * (z @ z @ z @ scaled)
        yield z / norm**0.5


def exact_inverse_sqrt(matrix: np.ndarray) -> np.ndarray:
    """Returns the inverse square root by eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors / np.sqrt(values)) @ vectors.T


def write_log(errors: dict[str, list[float]], path: Path) -> None:
    """Writes a row for every step."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *errors])
        writer.writerows(
            (step, *row)
            for step, row in enumerate(
                zip(*errors.values(), strict=True), start=1
            )
        )


def draw(errors: dict[str, list[float]], title: str) -> Figure:
    """Draws the error after every step."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, curve in errors.items():
        steps = range(1, len(curve) + 1)
        axes.plot(steps, curve, label=name, **STYLES[name])
    axes.set(yscale="log", xlabel="Newton-Schulz steps")
    axes.set_ylabel("error of D, relative")
    axes.set_ylim(np.nanmin(list(errors.values())) / 3, HIGHEST_ERROR)
    axes.axvline(5, color="dimgray", alpha=FAINT, zorder=0)
    axes.annotate(
        "the paper's\n5 steps",
        (5, HIGHEST_ERROR),
        xytext=(4, -26),
        textcoords="offset points",
        color="dimgray",
    )
    axes.grid(alpha=FAINT)
    axes.legend()
    figure.suptitle(title, fontsize="medium")
    return figure


if __name__ == "__main__":
    main()

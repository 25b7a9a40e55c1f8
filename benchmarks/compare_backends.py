"""How far do TensorFlow, PyTorch and JAX agree on the same network?

    python benchmarks/compare_backends.py --model resnet18 --steps 50

The same network with the same initial weights sees the same batches of real
images in each, one process after the other. Compared with the first backend:
outputs and gradients of the first batch in training mode, statistics after
one step and after all, and the loss of every step. Dropout is switched off,
and products are computed in all bits of float32 on GPUs as well. In float64
(`--dtype float64`), what is left of the differences is not rounding.

Names of models: resnet18, vgg11, vgg13, vgg16; or LIBRARY/MODEL, such as
keras-cv/CSPDarkNetBackbone, with a library of keras.applications, keras-cv
and keras-hub. Writes NAME.json, NAME_losses.json and NAME.png.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import keras_deconv
from _one_backend import SETTINGS
from _one_backend import Computed
from _one_backend import read
from _results import result_path
from _results import write

QUESTION = "How far do TensorFlow, PyTorch and JAX agree on the same network?"
BACKENDS = ("tensorflow", "torch", "jax")
WORKER = Path(__file__).with_name("_one_backend.py")
FORWARD = "outputs"
GRADIENT = "gradients"
WORST = "gradient of the worst weight"
LOSS = "last loss, relative"
TARGETS = {FORWARD: 1e-5, GRADIENT: 1e-4, LOSS: 1e-2}
# A gradient that is nought but for rounding has no relative error.
NEGLIGIBLE = 1e-4


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs each backend, writes the results and prints them."""
    options = make_parser().parse_args(arguments)
    name = options.model.replace("/", "_").replace(", ", "_")
    output = options.output or Path(f"outputs/compare_{name}.json")
    settings = {
        "model": options.model,
        "preset": None if options.preset == "none" else options.preset,
        "side": options.side,
        "steps": options.steps,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "dtype": options.dtype,
        "data_dir": options.data_dir and str(options.data_dir.resolve()),
    }
    variables = surroundings(options.device, options.dtype)
    computed = run_all(options.backends, settings, variables)
    records = compare(computed)
    shown = {**settings, "data_dir": "DIR" if options.data_dir else None}
    command = make_command(options)
    write(output, QUESTION, command, records, shown)
    curves = output.with_name(f"{output.stem}_losses.json")
    write(curves, "What is the loss?", command, losses(computed), shown)
    title = f"{options.model}, {options.preset}, batch {options.batch_size}"
    title += f", {options.dtype}"
    draw(computed, output.with_suffix(".png"), title)
    Console().print(make_table(records, title))


def make_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="resnet18")
    add(
        "--preset",
        choices=(*keras_deconv.PRESETS, "none"),
        default="fast",
        help="of the deconvolution; none compares the model as it is",
    )
    add("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    add("--device", choices=("cpu", "gpu"), default="cpu")
    add("--steps", type=int, default=50)
    add("--batch-size", type=int, default=32)
    add("--side", type=int, default=32, help="of the images, in pixels")
    add("--dtype", choices=("float32", "float64"), default="float32")
    add("--learning-rate", type=float, default=0.01)
    add("--seed", type=int, default=0)
    add(
        "--data-dir",
        type=Path,
        help="folder of cifar10.npz; without it, the embedded part is used",
    )
    add("--output", type=result_path, metavar="NAME.json")
    return parser


def make_command(options: argparse.Namespace) -> str:
    """Returns what computes the same, without the names of folders."""
    words = ["python", "benchmarks/compare_backends.py"]
    for name in ("model", "preset", "device", "steps", "batch_size", "side"):
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    words += ["--learning-rate", f"{options.learning_rate:g}"]
    words += ["--dtype", options.dtype, "--seed", str(options.seed)]
    words += ["--backends", *options.backends]
    if options.data_dir:
        words += ["--data-dir", "DIR"]
    return shlex.join(words)


def run_all(
    backends: Sequence[str],
    settings: Mapping[str, Any],
    variables: Mapping[str, str],
) -> dict[str, Computed]:
    """Returns what each backend computes, in a process of its own.

    Args:
        backends: Their names.
        settings: Of the worker.
        variables: Of its environment.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, SETTINGS).write_text(json.dumps(settings), "utf-8")
        for backend in backends:
            subprocess.run(
                [sys.executable, str(WORKER), folder],
                env={**os.environ, **variables, "KERAS_BACKEND": backend},
                check=True,
            )
        return {
            backend: read(Path(folder, f"{backend}.npz"))
            for backend in backends
        }


def surroundings(device: str, dtype: str) -> dict[str, str]:
    """Returns the environment variables that backends run with."""
    variables = {
        # On a GPU, JAX compiles far longer without.
        "XLA_FLAGS": os.environ.get(
            "XLA_FLAGS", "--xla_gpu_enable_triton_gemm=false"
        ),
        # Of all bits of float32, TF32 keeps ten of the mantissa.
        "NVIDIA_TF32_OVERRIDE": "0",
        "JAX_DEFAULT_MATMUL_PRECISION": "float32",
    }
    if dtype == "float64":
        variables["JAX_ENABLE_X64"] = "1"
    if device == "cpu":
        variables |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    return variables


def compare(computed: Mapping[str, Computed]) -> list[dict[str, Any]]:
    """Returns a record for each backend; differences are to the first."""
    first = next(iter(computed.values()))
    return [
        {
            "backend": backend,
            "version": mine.version,
            "device": mine.device,
            **(differences(mine, first) if mine is not first else {}),
            "first loss": float(mine.losses[0]),
            "last loss": float(mine.losses[-1]),
            "seconds per step": median_seconds(mine.seconds),
            "CPU seconds per step": median_seconds(mine.cpu_seconds),
            "peak, MiB": mine.peak,
        }
        for backend, mine in computed.items()
    ]


def differences(mine: Computed, first: Computed) -> dict[str, float]:
    """Returns how far a backend is from the first one.

    Of outputs and statistics, the largest difference over the largest value
    of the first; of gradients, the norms of both.
    """
    return {
        FORWARD: relative(mine.logits, first.logits),
        GRADIENT: norm_of_difference(mine.gradients, first.gradients),
        WORST: worst_gradient(mine.gradients, first.gradients),
        "statistics, one step": worst(
            mine.first_statistics, first.first_statistics
        ),
        "statistics, last step": worst(
            mine.last_statistics, first.last_statistics
        ),
        LOSS: float(abs(mine.losses[-1] / first.losses[-1] - 1)),
        "losses, largest difference": float(
            np.abs(mine.losses / first.losses - 1).max()
        ),
    }


def relative(mine: np.ndarray, first: np.ndarray) -> float:
    """Returns the largest difference over the largest value."""
    largest = np.abs(first).max()
    return float(np.abs(mine - first).max() / (largest or 1))


def worst(mine: list[np.ndarray], first: list[np.ndarray]) -> float:
    """Returns the largest of the relative differences."""
    pairs = zip(mine, first, strict=True)
    return max((relative(a, b) for a, b in pairs), default=0.0)


def norm_of_difference(
    mine: list[np.ndarray], first: list[np.ndarray]
) -> float:
    """Returns the norm of all differences over the norm of all values."""
    difference = [a - b for a, b in zip(mine, first, strict=True)]
    return norm(difference) / norm(first)


def worst_gradient(mine: list[np.ndarray], first: list[np.ndarray]) -> float:
    """Returns the largest difference of a weight's gradient, in norms.

    A gradient below 1e-4 of the whole gradient is left out.
    """
    return max(
        norm_of_difference([a], [b])
        for a, b in zip(mine, first, strict=True)
        if norm([b]) > NEGLIGIBLE * norm(first)
    )


def norm(arrays: Sequence[np.ndarray]) -> float:
    """Returns the norm of all arrays together."""
    return float(
        np.sqrt(sum(np.square(a.astype("float64")).sum() for a in arrays))
    )


def median_seconds(seconds: np.ndarray) -> float:
    """Returns the median step; the first two may compile."""
    return statistics.median(seconds[2:] if len(seconds) > 2 else seconds)


def losses(computed: Mapping[str, Computed]) -> list[dict[str, Any]]:
    """Returns a record for each step."""
    steps = zip(
        *(each.losses.tolist() for each in computed.values()), strict=True
    )
    return [
        {"step": step, **dict(zip(computed, values, strict=True))}
        for step, values in enumerate(steps, start=1)
    ]


def draw(computed: Mapping[str, Computed], path: Path, title: str) -> None:
    """Draws the loss of every backend."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (backend, each), style in zip(
        computed.items(), ("-", "--", ":"), strict=False
    ):
        steps = range(1, len(each.losses) + 1)
        axes.plot(steps, each.losses, style, label=backend)
    axes.set(xlabel="step", ylabel="training loss", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def make_table(records: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Shows a column for each backend, and says what misses its target."""
    table = Table(
        title=title,
        caption="differences are to the first backend; ! misses its target",
    )
    table.add_column("")
    for record in records:
        table.add_column(record["backend"], justify="right")
    keys = dict.fromkeys(key for record in records for key in record)
    for key in list(keys)[1:]:
        target = TARGETS.get(key)
        table.add_row(
            key if target is None else f"{key} (target {target:g})",
            *(show(record.get(key), target) for record in records),
        )
    return table


def show(value: Any, target: float | None) -> str:
    """Writes a value; one that misses its target has a mark."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    mark = " !" if target is not None and value > target else ""
    return f"{value:.3g}{mark}"


if __name__ == "__main__":
    main()

"""Where does the time of a deconvolved convolution go?

    KERAS_BACKEND=torch python benchmarks/layer_breakdown.py --batch-size 32

For the convolutions of VGG16 on CIFAR: the time of taking patches, of the
covariance, of the root, of folding, and of the convolution itself; forward,
and forward and back. The parts are timed one by one, so their sum is not the
time of a layer.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

from _differentiate import compiled
from _differentiate import compiled_gradient
from _results import read
from _results import write
from keras_deconv import ops as deconv_ops
from render import report

QUESTION = "Where does the time of a deconvolved convolution go?"
KERNEL = (3, 3)
EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """A convolution of 3 x 3: side of its input, channels, filters."""

    side: int
    channels: int
    filters: int


# Those of VGG16 that differ.
SHAPES = (
    Shape(32, 3, 64),
    Shape(32, 64, 64),
    Shape(16, 64, 128),
    Shape(16, 128, 128),
    Shape(8, 128, 256),
    Shape(8, 256, 256),
    Shape(4, 256, 512),
    Shape(4, 512, 512),
    Shape(2, 512, 512),
)


@dataclass(frozen=True)
class Settings:
    """Settings of the layer that the parts depend on."""

    batch_size: int
    block_size: int
    sampling_stride: int
    num_iterations: int
    method: str


def parts(
    shape: Shape, settings: Settings
) -> Iterator[tuple[str, Callable[..., Any], tuple[np.ndarray, ...]]]:
    """Yields name, function and arguments of each part of a layer."""
    rng = np.random.default_rng(0)

    def random(*size: int) -> np.ndarray:
        return rng.normal(size=size).astype("float32")

    side, channels = shape.side, shape.channels
    blocks = deconv_ops.Blocks(
        channels, taps=9, block_size=min(channels, settings.block_size)
    )
    inputs = random(settings.batch_size, side, side, channels)
    kernel = random(*KERNEL, channels, shape.filters)

    def columns(inputs: Any) -> Any:
        patches = deconv_ops.sampled_patches(
            inputs,
            KERNEL,
            padding="same",
            sampling_stride=settings.sampling_stride,
        )
        return deconv_ops.split_columns(patches, blocks)

    def covariance(columns: Any) -> Any:
        mean = deconv_ops.mean(columns)
        return deconv_ops.covariance(columns, mean, EPSILON)

    def root(matrix: Any) -> Any:
        return deconv_ops.inverse_sqrt(
            matrix, settings.num_iterations, settings.method
        )

    def fold(kernel: Any, deconv: Any) -> Any:
        mean = ops.zeros((1, blocks.features))
        return deconv_ops.fold(kernel, None, mean, deconv, blocks)[0]

    def convolution(inputs: Any, kernel: Any) -> Any:
        return ops.conv(inputs, kernel, padding="same")

    taken = ops.convert_to_numpy(columns(inputs))
    matrix = ops.convert_to_numpy(covariance(taken))
    yield "patches", columns, (inputs,)
    yield "covariance", covariance, (taken,)
    yield "root", root, (matrix,)
    yield "fold", fold, (kernel, matrix)
    yield "convolution", convolution, (inputs, kernel)


def milliseconds(run: Callable[[], Any], rounds: int) -> float:
    """Returns the median time of a call; the first does not count."""
    run()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def measure(shape: Shape, settings: Settings, rounds: int) -> dict[str, Any]:
    """Returns the record of a convolution."""
    record: dict[str, Any] = {
        "input": f"{shape.side} x {shape.side} x {shape.channels}",
        "filters": shape.filters,
    }
    for name, function, values in parts(shape, settings):
        record[f"{name}, ms"] = milliseconds(
            compiled(function, *values), rounds
        )
        record[f"{name}, and back"] = milliseconds(
            compiled_gradient(function, *values), rounds
        )
    return record


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--block-size", type=int, default=64)
    parser.add_argument("--sampling-stride", type=int, default=3)
    parser.add_argument("--num-iterations", type=int, default=5)
    parser.add_argument("--method", default="newton_schulz")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    settings = Settings(
        options.batch_size,
        options.block_size,
        options.sampling_stride,
        options.num_iterations,
        options.method,
    )
    output = options.output or Path(
        f"outputs/layer_breakdown_{keras.backend.backend()}.json"
    )
    command = (
        f"python benchmarks/layer_breakdown.py --rounds {options.rounds} "
        f"--batch-size {settings.batch_size} "
        f"--block-size {settings.block_size} "
        f"--sampling-stride {settings.sampling_stride} "
        f"--num-iterations {settings.num_iterations} "
        f"--method {settings.method}"
    )
    records = []
    for shape in SHAPES:
        records.append(measure(shape, settings, options.rounds))
        write(output, QUESTION, command, records)
    print(report(read(output)))


if __name__ == "__main__":
    main()

r"""Where does the time of a deconvolved convolution go?

    KERAS_BACKEND=torch python benchmarks/layer_breakdown.py --batch-size 32
    KERAS_BACKEND=torch python benchmarks/layer_breakdown.py \
        --network imagenet_vgg11 --side 256 --batch-size 2

For each different convolution of a network, with the settings of a preset: the
time of taking patches, of the covariance, of the root, of folding, and of the
convolution itself; forward, and forward and back (the paper's table 3 has the
former, of networks for images of 256 x 256). The parts are timed one by one, so
their sum is not the time of a layer: the first three are due on every step with
"paper", on every 8th with "fast".
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_deconv
from _differentiate import compiled
from _differentiate import compiled_gradient
from _results import read
from _results import result_path
from _results import write
from keras_deconv import models
from keras_deconv import ops as deconv_ops
from render import report

QUESTION = "Where does the time of a deconvolved convolution go?"
NETWORKS = [name for name in models.__all__ if not name.startswith("init")]


def convolutions(
    network: str, side: int, preset: str
) -> list[keras_deconv.DeconvConv2D]:
    """Returns the convolutions of a network, one of each shape."""
    twin = keras_deconv.deconvolutionize(
        getattr(models, network)(input_shape=(side, side, 3)), preset=preset
    )
    found = {
        (layer.input.shape, layer.kernel.shape, layer.strides): layer
        for layer in reversed(twin.layers)
        if isinstance(layer, keras_deconv.DeconvConv2D)
    }
    return list(reversed(found.values()))


def parts(
    layer: keras_deconv.DeconvConv2D, batch_size: int
) -> Iterator[tuple[str, Callable[..., Any], tuple[np.ndarray, ...]]]:
    """Yields name, function and arguments of each part of a layer."""
    rng = np.random.default_rng(0)
    (found,) = layer.all_statistics()
    inputs = rng.normal(size=(batch_size, *layer.input.shape[1:]))
    inputs = inputs.astype("float32")
    kernel = keras.ops.convert_to_numpy(layer.kernel)

    def columns(inputs: Any) -> Any:
        return deconv_ops.split_columns(
            found.batch.samples.patches(inputs), found.blocks
        )

    def covariance(columns: Any) -> Any:
        mean = deconv_ops.mean(columns)
        return deconv_ops.covariance(columns, mean, layer.epsilon)

    def fold(kernel: Any, deconv: Any) -> Any:
        split = deconv_ops.split_kernel(kernel, found.blocks)
        folded, _ = deconv_ops.merge_folded(
            deconv_ops.product(deconv, split),
            None,
            keras.ops.zeros(deconv.shape[:2]),
            found.blocks,
            layer.kernel.shape,
        )
        return folded

    taken = keras.ops.convert_to_numpy(columns(inputs))
    matrix = keras.ops.convert_to_numpy(covariance(taken))
    yield "patches", columns, (inputs,)
    yield "covariance", covariance, (taken,)
    yield "root", found.batch.root, (matrix,)
    yield "fold", fold, (kernel, matrix)
    yield "convolution", layer.convolution_op, (inputs, kernel)


def milliseconds(run: Callable[[], Any], rounds: int) -> float:
    """Returns the median time of a call; the first does not count."""
    run()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def measure(
    layer: keras_deconv.DeconvConv2D, batch_size: int, rounds: int
) -> dict[str, Any]:
    """Returns the record of a convolution."""
    record: dict[str, Any] = {
        "input": " x ".join(map(str, layer.input.shape[1:])),
        "kernel": " x ".join(map(str, layer.kernel.shape)),
        "stride": layer.strides[0],
    }
    for name, function, values in parts(layer, batch_size):
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
    add = parser.add_argument
    add("--network", choices=NETWORKS, default="vgg16", metavar="NAME")
    add("--side", type=int, default=32, help="of the images")
    add("--preset", choices=keras_deconv.PRESETS, default="paper")
    add("--batch-size", type=int, default=128)
    add("--rounds", type=int, default=5)
    add("--output", type=result_path)
    options = parser.parse_args()
    output = options.output or Path(
        f"outputs/layer_breakdown_{keras.backend.backend()}.json"
    )
    command = (
        f"python benchmarks/layer_breakdown.py --network {options.network} "
        f"--side {options.side} --preset {options.preset} "
        f"--batch-size {options.batch_size} --rounds {options.rounds}"
    )
    records = []
    for layer in convolutions(options.network, options.side, options.preset):
        records.append(measure(layer, options.batch_size, options.rounds))
        write(output, QUESTION, command, records)
    print(report(read(output)))


if __name__ == "__main__":
    main()

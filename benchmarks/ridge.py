"""How much does the ridge change, for inputs of which scale?

    python benchmarks/ridge.py

Compares the training outputs of a convolution with `epsilon=1e-5` to those
with next to no ridge, in float64 (the NumPy oracle of the tests): the largest
difference over the largest output.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).parent.parent / "tests"))

import numpy as np

import oracle
from _results import read
from _results import result_path
from _results import write
from render import report

QUESTION = "How much does the ridge change, for inputs of which scale?"
EPSILON = 1e-5
# 1e-40 is nothing beside any covariance here, but keeps it definite.
NONE = 1e-40
SCALES = (1e4, 1, 0.1, 1e-2, 1e-3, 1e-4)
ITERATIONS = (2, 5, 15)


def correlated(channels: int) -> np.ndarray:
    """Returns images correlated in space and across channels, of scale 1."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(8, 16, 16, channels))
    for axis in (1, 2):
        noise = noise + 0.7 * np.roll(noise, 1, axis)
    mixing = np.eye(channels) + 0.3 * rng.normal(size=(channels, channels))
    images = noise @ mixing
    return images / images.std()


def effect(scale: float, num_iterations: int, channels: int) -> float:
    """Returns the largest difference that the ridge makes, relative."""
    images = scale * correlated(channels)
    kernel = np.random.default_rng(1).normal(size=(3, 3, channels, 8))

    def outputs(epsilon: float) -> np.ndarray:
        return oracle.deconv_conv(
            images,
            kernel,
            None,
            block_size=channels,
            strides=(1, 1),
            dilation_rate=(1, 1),
            num_iterations=num_iterations,
            epsilon=epsilon,
        )[0]

    without = outputs(NONE)
    return np.abs(outputs(EPSILON) - without).max() / np.abs(without).max()


def main() -> None:
    """Computes, writes the result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument(
        "--output", type=result_path, default=Path("outputs/ridge.json")
    )
    options = parser.parse_args()
    records = [
        {
            "scale of inputs": scale,
            **{
                f"{count} iterations": effect(scale, count, options.channels)
                for count in ITERATIONS
            },
        }
        for scale in SCALES
    ]
    command = f"python benchmarks/ridge.py --channels {options.channels}"
    write(options.output, QUESTION, command, records)
    print(report(read(options.output)))


if __name__ == "__main__":
    main()

"""What does a deconvolved training step cost against batch normalization?

    KERAS_BACKEND=torch python benchmarks/training_step.py --widths 32 64 128

A VGG-style network, two convolutions to each width, CIFAR shapes, is trained
with plain convolutions, with batch normalization, and deconvolved. The three
take turns step by step, so that the load of the machine meets all of them
alike; the median of the ratios within each turn is printed, as Markdown. The
first step, which compiles, is reported apart.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

from keras_deconv import deconvolutionize

BASELINE = "batch normalization"


def network(widths: Sequence[int], *, normalized: bool) -> keras.Model:
    """Builds the network, with or without batch normalization."""
    model = keras.Sequential([keras.Input((32, 32, 3))])
    for width in widths:
        for _ in range(2):
            model.add(
                layers.Conv2D(width, 3, padding="same", use_bias=not normalized)
            )
            if normalized:
                model.add(layers.BatchNormalization())
            model.add(layers.ReLU())
        model.add(layers.MaxPooling2D())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10))
    return model


def time_steps(
    models: dict[str, keras.Model], batch_size: int, rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of every step; the models take turns."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 10, batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for model in models.values():
        model.compile(
            keras.optimizers.SGD(1e-3, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    for _ in range(rounds + 1):
        for name, model in models.items():
            start = time.perf_counter()
            float(model.train_on_batch(images, labels))
            seconds[name].append(time.perf_counter() - start)
    return seconds


def table(seconds: dict[str, list[float]]) -> str:
    """Returns a Markdown table of medians and of ratios to the baseline."""
    lines = [
        f"| network | ms per step | ratio to {BASELINE} | first step, s |",
        "| --- | --- | --- | --- |",
    ]
    for name, steps in seconds.items():
        ratio = statistics.median(
            mine / base
            for mine, base in zip(steps[1:], seconds[BASELINE][1:], strict=True)
        )
        median = 1e3 * statistics.median(steps[1:])
        lines.append(
            f"| {name} | {median:.0f} | {ratio:.2f} | {steps[0]:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, and prints the table under what it was measured on."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--widths", type=int, nargs="+", default=(32, 64, 128))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    normalized = network(options.widths, normalized=True)
    models = {
        "plain convolutions": network(options.widths, normalized=False),
        BASELINE: normalized,
        "network deconvolution": deconvolutionize(normalized),
    }
    print(
        f"{keras.backend.backend()}, Keras {keras.__version__}, "
        f"{platform.machine()}, {os.cpu_count()} cores; widths "
        f"{'-'.join(map(str, options.widths))}, batch {options.batch_size}, "
        f"{options.rounds} rounds\n"
    )
    print(table(time_steps(models, options.batch_size, options.rounds)))


if __name__ == "__main__":
    main()

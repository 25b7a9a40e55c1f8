"""What does a trained network lose when it is deconvolved with its data?

    python benchmarks/warm_start.py --data-dir DIR --dataset fashion_mnist

A network with batch normalization is trained, and converted with
`deconvolutionize(model, calibration_data=...)`, which preserves what it
computes. Both are tested as they are, and after one more epoch of training
with the same batches and learning rate. DIR holds NAME.npz; without it, Keras
downloads the set.

    python benchmarks/warm_start.py --applications

instead compares the outputs of ResNet50 and MobileNetV2, with random kernels
and random statistics, before and after the conversion.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The network, the data and the training are those of the examples.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import keras
import numpy as np

import keras_deconv
from _datasets import FULL_SETS
from _datasets import Dataset
from _datasets import load
from _finetune import convert
from _network import build_network
from _results import read
from _results import result_path
from _results import write
from _training import accuracy
from _training import steps_per_epoch
from _training import train
from render import report

QUESTION = "What does a trained network lose when it is deconvolved?"
WIDTHS = (16, 32, 64)


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--applications", action="store_true")
    add("--dataset", choices=FULL_SETS, default="fashion_mnist")
    add("--data-dir", type=Path, help="folder of NAME.npz")
    add("--epochs", type=int, default=2, help="before the conversion")
    add("--batch-size", type=int, default=128)
    add("--learning-rate", type=float, default=0.05)
    add("--fine-tuning-rates", type=float, nargs="+", default=(0.02, 0.005))
    add("--seeds", type=int, nargs="+", default=(0,))
    add("--output", type=result_path)
    options = parser.parse_args()
    name = "applications" if options.applications else options.dataset
    output = options.output or Path(
        f"outputs/warm_start_{name}_{keras.backend.backend()}.json"
    )
    if options.applications:
        records = [compare(name) for name in ("ResNet50", "MobileNetV2")]
        command = "python benchmarks/warm_start.py --applications"
    else:
        data = load(options.dataset, options.data_dir)
        records = [
            record
            for seed in options.seeds
            for record in fine_tune(data, options, seed)
        ]
        command = (
            "python benchmarks/warm_start.py --data-dir DIR "
            f"--dataset {options.dataset} --epochs {options.epochs} "
            f"--batch-size {options.batch_size} "
            f"--learning-rate {options.learning_rate:g} "
            "--fine-tuning-rates "
            f"{' '.join(f'{rate:g}' for rate in options.fine_tuning_rates)} "
            f"--seeds {' '.join(map(str, options.seeds))}"
        )
    write(output, QUESTION, command, records)
    print(report(read(output)))


def fine_tune(
    data: Dataset, options: argparse.Namespace, seed: int
) -> Iterator[dict[str, Any]]:
    """Yields the records of one trained network, and of its twin."""
    keras.utils.set_random_seed(seed)
    network = build_network(
        data.x_train.shape[1:], int(data.y_train.max()) + 1, WIDTHS
    )
    epoch = steps_per_epoch(data, options.batch_size)

    def run(model: keras.Model, rate: float, epochs: int, order: int) -> float:
        found = train(
            model,
            data,
            learning_rate=rate,
            batch_size=options.batch_size,
            steps=epochs * epoch,
            seed=order,
            on_step=lambda: None,
        )
        return found.accuracies[-1]

    run(network, options.learning_rate, options.epochs, seed)
    twin = convert(network, data.x_train, options.batch_size, seed)
    for name, model in (("batch normalization", network), ("twin", twin)):
        start = accuracy(model, data.x_test, data.y_test)
        weights = model.get_weights()
        for rate in options.fine_tuning_rates:
            model.set_weights(weights)
            yield {
                "network": name,
                "seed": seed,
                "test accuracy": start,
                "fine-tuning rate": rate,
                "after one epoch": run(model, rate, 1, seed + 1),
            }


def compare(name: str) -> dict[str, Any]:
    """Returns how far the outputs of a twin are from those of a network."""
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(
        weights=None,
        input_shape=(96, 96, 3),
        classes=10,
        classifier_activation=None,
    )
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight, low, high in (
                (layer.gamma, 0.5, 1.5),
                (layer.beta, -0.5, 0.5),
                (layer.moving_mean, -0.5, 0.5),
                (layer.moving_variance, 0.5, 1.5),
            ):
                weight.assign(rng.uniform(low, high, weight.shape))
    data = [
        rng.normal(size=(16, 96, 96, 3)).astype("float32") for _ in range(2)
    ]
    twin = keras_deconv.deconvolutionize(network, calibration_data=data)
    test = rng.normal(size=(16, 96, 96, 3)).astype("float32")
    wanted = network.predict(test, verbose=0)
    found = twin.predict(test, verbose=0)
    scale = np.abs(wanted).max()
    return {
        "network": name,
        "largest output": float(scale),
        "standard deviation": float(wanted.std(0).mean()),
        "difference / largest output": float(
            np.abs(found - wanted).max() / scale
        ),
    }


if __name__ == "__main__":
    main()

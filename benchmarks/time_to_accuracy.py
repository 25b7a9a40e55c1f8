"""How long until a network reaches an accuracy, with which normalization?

    python benchmarks/time_to_accuracy.py --data-dir DIR --epochs 5

On CIFAR-10, batch normalization at several learning rates and deconvolution
by each preset. A run ends at the highest target, or when its loss is no
finite number; the seconds are those of training, without evaluation. SGD with
momentum and a cosine schedule over all epochs, no augmentation. DIR holds
cifar10.npz; without it, Keras downloads the set.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The data and the training are those of the examples.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import keras

import keras_deconv
from _datasets import Dataset
from _datasets import load
from _networks import NETWORKS
from _results import read
from _results import result_path
from _results import write
from _training import accuracy
from _training import batches
from _training import compile_model
from _training import steps_per_epoch
from render import report

QUESTION = (
    "How long until a network reaches an accuracy, with which normalization?"
)


def measure(
    model: keras.Model,
    data: Dataset,
    options: argparse.Namespace,
    learning_rate: float,
    seed: int,
) -> dict[str, Any]:
    """Trains until the highest target; returns when each was reached."""
    epoch = steps_per_epoch(data, options.batch_size)
    steps = round(options.epochs * epoch)
    interval = max(1, round(epoch / options.evaluations))
    compile_model(model, learning_rate, steps)
    order = batches(len(data.x_train), options.batch_size, seed)
    targets = sorted(options.targets)
    reached: dict[str, Any] = {}
    for target in targets:
        reached[f"epochs to {target:.0%}"] = None
        reached[f"seconds to {target:.0%}"] = None
    seconds = best = 0.0
    for step in range(1, steps + 1):
        picks = next(order)
        start = time.perf_counter()
        loss = float(
            model.train_on_batch(data.x_train[picks], data.y_train[picks])
        )
        if step > 1:  # The first one compiles.
            seconds += time.perf_counter() - start
        if not math.isfinite(loss):
            break
        if step % interval and step != steps:
            continue
        best = max(best, accuracy(model, data.x_test, data.y_test))
        for target in targets:
            if best >= target and reached[f"epochs to {target:.0%}"] is None:
                reached[f"epochs to {target:.0%}"] = step / epoch
                reached[f"seconds to {target:.0%}"] = seconds
        if best >= targets[-1]:
            break
    return {**reached, "best test accuracy": best}


def main() -> None:
    """Measures, writes the result file after each run, and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, help="folder of cifar10.npz")
    add("--network", choices=NETWORKS, default="small")
    add("--epochs", type=float, default=5)
    add("--batch-size", type=int, default=128)
    add("--seeds", type=int, nargs="+", default=(0,))
    add("--learning-rate", type=float, default=0.1, help="of deconvolution")
    add(
        "--batch-norm-rates",
        type=float,
        nargs="+",
        default=(0.1, 0.05, 0.02),
    )
    add(
        "--presets",
        nargs="+",
        choices=keras_deconv.PRESETS,
        default=list(keras_deconv.PRESETS),
    )
    add("--targets", type=float, nargs="+", default=(0.7, 0.8, 0.9))
    add("--evaluations", type=int, default=8, help="in an epoch")
    add("--output", type=result_path)
    options = parser.parse_args()
    data = load("cifar10", options.data_dir)
    output = options.output or Path(
        f"outputs/time_to_accuracy_{keras.backend.backend()}.json"
    )
    runs = [(None, rate) for rate in options.batch_norm_rates]
    runs += [(preset, options.learning_rate) for preset in options.presets]
    command = (
        f"python benchmarks/time_to_accuracy.py --network {options.network} "
        f"--epochs {options.epochs:g} --batch-size {options.batch_size} "
        f"--seeds {' '.join(map(str, options.seeds))} "
        f"--learning-rate {options.learning_rate:g} --batch-norm-rates "
        f"{' '.join(f'{rate:g}' for rate in options.batch_norm_rates)} "
        f"--presets {' '.join(options.presets)} "
        f"--targets {' '.join(f'{target:g}' for target in options.targets)} "
        f"--evaluations {options.evaluations} --data-dir DIR"
    )
    records = []
    for seed in options.seeds:
        for preset, rate in runs:
            keras.utils.clear_session()
            keras.utils.set_random_seed(seed)
            model = NETWORKS[options.network][0]()
            if preset is not None:
                model = keras_deconv.deconvolutionize(model, preset=preset)
            records.append(
                {
                    "network": preset or "batch normalization",
                    "learning rate": rate,
                    "seed": seed,
                    **measure(model, data, options, rate, seed),
                }
            )
            write(output, QUESTION, command, records)
    print(report(read(output)))


if __name__ == "__main__":
    main()

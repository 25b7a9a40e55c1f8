"""Do residual networks train without batch normalization?

    KERAS_BACKEND=torch python benchmarks/stability.py --data-dir DIR

Backbones of keras-cv with a linear head, on CIFAR-10: as they are, with batch
normalization, and deconvolved by each preset. The loss of the first and of
the last tenth of the steps tells whether they learn, the largest one whether
they came close to diverging. Adam; no augmentation. DIR holds cifar10.npz;
without it, Keras downloads the set.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The data are those of the examples.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import keras
import numpy as np

import keras_deconv
from _datasets import Dataset
from _datasets import load
from _results import read
from _results import result_path
from _results import write
from _training import accuracy
from _training import batches
from render import report

QUESTION = "Do residual networks train without batch normalization?"
SHAPE = (32, 32, 3)


def csp_dark_net() -> keras.Model:
    """Returns a small CSPDarkNet with maps of 16, 8, 4 and 2 pixels."""
    from keras_cv import models

    return models.CSPDarkNetBackbone(
        stackwise_channels=[16, 32, 64, 128],
        stackwise_depth=[1, 2, 2, 1],
        include_rescaling=False,
        input_shape=SHAPE,
    )


def efficient_net() -> keras.Model:
    """Returns the blocks of an EfficientNet B0, once each, for small images."""
    from keras_cv import models

    return models.EfficientNetV1Backbone(
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 1, 2, 1, 1, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 1, 2, 1, 1, 2, 1],
        stackwise_squeeze_and_excite_ratios=[0.25] * 7,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        include_rescaling=False,
        input_shape=SHAPE,
    )


BACKBONES = {"CSPDarkNet": csp_dark_net, "EfficientNet": efficient_net}


def main() -> None:
    """Measures, writes the result file after each run, and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, help="folder of cifar10.npz")
    add("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    add(
        "--presets",
        nargs="+",
        choices=keras_deconv.PRESETS,
        default=list(keras_deconv.PRESETS),
    )
    add("--steps", type=int, default=100)
    add("--batch-size", type=int, default=64)
    add("--learning-rate", type=float, default=1e-3)
    add("--seeds", type=int, nargs="+", default=(0,))
    add("--output", type=result_path)
    options = parser.parse_args()
    data = load("cifar10", options.data_dir)
    output = options.output or Path(
        f"outputs/stability_{keras.backend.backend()}.json"
    )
    command = (
        "python benchmarks/stability.py --data-dir DIR "
        f"--backbones {' '.join(options.backbones)} "
        f"--presets {' '.join(options.presets)} "
        f"--steps {options.steps} --batch-size {options.batch_size} "
        f"--learning-rate {options.learning_rate:g} "
        f"--seeds {' '.join(map(str, options.seeds))}"
    )
    records = []
    for name in options.backbones:
        for seed in options.seeds:
            for preset in (None, *options.presets):
                records.append(
                    {
                        "network": name,
                        "form": f"deconvolution, {preset}"
                        if preset
                        else "batch normalization",
                        "seed": seed,
                        **run(name, preset, data, options, seed),
                    }
                )
                write(output, QUESTION, command, records)
                print(records[-1], flush=True)
    print(report(read(output)))


def run(
    name: str,
    preset: str | None,
    data: Dataset,
    options: argparse.Namespace,
    seed: int,
) -> dict[str, Any]:
    """Trains one network; a loss that is not finite ends it."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    backbone = BACKBONES[name]()
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(10)(x))
    if preset is not None:
        model = keras_deconv.deconvolutionize(model, preset=preset)
    model.compile(
        keras.optimizers.Adam(options.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    losses: list[float] = []
    order = batches(len(data.x_train), options.batch_size, seed)
    while len(losses) < options.steps:
        picks = next(order)
        loss = model.train_on_batch(data.x_train[picks], data.y_train[picks])
        losses.append(float(loss))
        if not np.isfinite(losses[-1]):
            return {"diverged at step": len(losses)}
    tenth = max(len(losses) // 10, 1)
    return {
        "loss, first tenth": float(np.mean(losses[:tenth])),
        "loss, last tenth": float(np.mean(losses[-tenth:])),
        "largest loss": max(losses),
        "test accuracy": accuracy(
            model, data.x_test[:2000], data.y_test[:2000]
        ),
    }


if __name__ == "__main__":
    main()

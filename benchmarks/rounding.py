"""How far is a training step in float32 from the same step in float64?

    KERAS_BACKEND=torch python benchmarks/rounding.py --data-dir DIR

Outputs and gradients of the first batch, with batch normalization and
deconvolved, on one backend: what no two backends can be expected to agree
better on. The same again with softplus for ReLU and average for maximum
pooling, where rounding decides nothing. The kernels are random, from the same
numbers in both dtypes. JAX has float64 only behind a switch of the whole
process, so this is for the other two.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_deconv
from _differentiate import loss_gradients
from _networks import BATCH_NORM
from _one_backend import real_batches
from _results import read
from _results import result_path
from _results import write
from keras_deconv import models
from render import report

QUESTION = "How far is a training step in float32 from the same in float64?"
NETWORKS = ("vgg11", "vgg16", "resnet18")
FORMS = (BATCH_NORM, *keras_deconv.PRESETS)


def main() -> None:
    """Computes, writes the result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--network", choices=NETWORKS, default="vgg16")
    add("--batch-size", type=int, default=32)
    add("--data-dir", type=Path, help="without it, the embedded images")
    add("--output", type=result_path)
    options = parser.parse_args()
    output = options.output or Path(
        f"outputs/rounding_{options.network}_{keras.backend.backend()}.json"
    )
    settings = {
        "batch_size": options.batch_size,
        "seed": 0,
        "data_dir": options.data_dir,
    }
    batch = next(real_batches((32, 32, 3), settings))
    records = [
        measure(options.network, form, is_smooth, batch)
        for form in FORMS
        for is_smooth in (False, True)
    ]
    command = (
        f"python benchmarks/rounding.py --network {options.network} "
        f"--batch-size {options.batch_size}"
    ) + (" --data-dir DIR" if options.data_dir else "")
    write(output, QUESTION, command, records)
    print(report(read(output)))


def measure(
    network: str, form: str, is_smooth: bool, batch: tuple[Any, Any]
) -> dict[str, Any]:
    """Returns the relative differences of one form."""
    (outputs, gradient), (exact, exact_gradient) = (
        step(network, form, is_smooth, dtype, batch)
        for dtype in ("float32", "float64")
    )
    difference = np.linalg.norm(gradient - exact_gradient)
    return {
        "form": form,
        "activations": "smooth" if is_smooth else "ReLU",
        "outputs": np.abs(outputs - exact).max() / np.abs(exact).max(),
        "gradients": difference / np.linalg.norm(exact_gradient),
    }


def step(
    network: str, form: str, is_smooth: bool, dtype: str, batch: tuple[Any, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits in training mode, and the gradient of all weights."""
    keras.config.set_dtype_policy(dtype)
    model = getattr(models, network)()
    if is_smooth:
        model = keras.models.clone_model(model, clone_function=smooth)
    if form != BATCH_NORM:
        model = keras_deconv.deconvolutionize(model, preset=form)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        if len(weight.shape) > 1:
            deviation = np.sqrt(2 / np.prod(weight.shape[:-1]))
            weight.assign(rng.normal(size=weight.shape) * deviation)
    images, labels = batch
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    logits, gradients = loss_gradients(
        model, loss, images.astype(dtype), labels
    )
    return logits, np.concatenate([each.ravel() for each in gradients])


def smooth(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns a layer without kinks in place of ReLU and maximum pooling."""
    if isinstance(layer, keras.layers.ReLU):
        return keras.layers.Activation("softplus", name=layer.name)
    config = layer.get_config()
    if isinstance(layer, keras.layers.MaxPooling2D):
        return keras.layers.AveragePooling2D.from_config(config)
    return type(layer).from_config(config)


if __name__ == "__main__":
    main()

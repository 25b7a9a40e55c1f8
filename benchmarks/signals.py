"""Where does the signal grow in networks without batch normalization?

    KERAS_BACKEND=torch python benchmarks/signals.py --data-dir DIR

Backbones of keras-cv with random weights see images of CIFAR-10: with batch
normalization, as plain convolutions, and deconvolved: by each preset, and with
the paper's iterations and ridge for small batches. The root mean square of the
outputs of each layer is taken, in training mode, and in inference mode after
the statistics have followed a few batches. DIR holds cifar10.npz; without it,
Keras downloads the set.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The data are those of the examples.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import keras
import numpy as np

import keras_deconv
from _datasets import load
from _results import read
from _results import result_path
from _results import write
from render import report
from stability import BACKBONES

QUESTION = "Where does the signal grow without batch normalization?"
BATCH_NORM, PLAIN = "batch normalization", "plain convolutions"
# Settings of each deconvolved form.
DECONVOLVED: dict[str, dict[str, Any]] = {
    **{name: {"preset": name} for name in keras_deconv.PRESETS},
    "fast, 2 iterations, epsilon 0.01": {
        "preset": "fast",
        "num_iterations": 2,
        "epsilon": 1e-2,
    },
}
STEPS = 20


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, help="folder of cifar10.npz")
    add("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    add("--batch-sizes", type=int, nargs="+", default=[64, 2])
    add("--output", type=result_path)
    options = parser.parse_args()
    data = load("cifar10", options.data_dir)
    output = options.output or Path(
        f"outputs/signals_{keras.backend.backend()}.json"
    )
    command = (
        "python benchmarks/signals.py --data-dir DIR "
        f"--backbones {' '.join(options.backbones)} "
        f"--batch-sizes {' '.join(map(str, options.batch_sizes))}"
    )
    records = [
        {"network": name, "batch": size, "form": form, "mode": mode, **found}
        for name in options.backbones
        for size in options.batch_sizes
        for form in (BATCH_NORM, PLAIN, *DECONVOLVED)
        for mode, found in measure(name, form, size, data.x_train)
    ]
    write(output, QUESTION, command, records)
    print(report(read(output)))


def measure(
    name: str, form: str, size: int, images: np.ndarray
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields what a network does in training and, later, in inference."""
    keras.utils.set_random_seed(0)
    model = make(name, form)
    first, *others, last = np.split(images[: (STEPS + 2) * size], STEPS + 2)
    yield "training, first step", signals(model, first, training=True)
    for batch in others:
        model(batch, training=True)
    yield (
        f"inference, after {STEPS} steps",
        signals(model, last, training=False),
    )


def make(name: str, form: str) -> keras.Model:
    """Returns a network in one form."""
    model = BACKBONES[name]()
    if form == BATCH_NORM:
        return model
    twin = keras_deconv.deconvolutionize(model, **DECONVOLVED.get(form, {}))
    return keras_deconv.fold(twin) if form == PLAIN else twin


def signals(
    model: keras.Model, images: np.ndarray, *, training: bool
) -> dict[str, Any]:
    """Returns the root mean square of what leaves the layers of a network."""
    layers = [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    probe = keras.Model(model.input, [layer.output for layer in layers])
    values = [
        float(np.sqrt(np.mean(np.square(np.asarray(output, "float64")))))
        for output in map(
            keras.ops.convert_to_numpy, probe(images, training=training)
        )
    ]
    largest = int(np.argmax(values))
    return {
        "first layer": values[0],
        "last layer": values[-1],
        "largest": values[largest],
        "of layer": layers[largest].name,
        "its number": f"{largest + 1} of {len(layers)}",
    }


if __name__ == "__main__":
    main()

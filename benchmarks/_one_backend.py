"""What one backend computes: the worker of compare_backends.py.

    KERAS_BACKEND=jax python benchmarks/_one_backend.py FOLDER

FOLDER holds `settings.json`. The first backend writes `initial.weights.h5`
there, the others read it. Results go to `BACKEND.npz`: arrays under the names
of `Computed`.
"""

import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The data are those of the examples.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import keras
import numpy as np

import keras_deconv
from _datasets import CLASSES
from _datasets import SAMPLE
from _datasets import load
from _differentiate import loss_gradients
from _training import batches
from _zoo import LIBRARIES
from memory import MIB
from memory import peak_bytes

OURS = ("resnet18", "vgg11", "vgg13", "vgg16")
WEIGHTS = "initial.weights.h5"
SETTINGS = "settings.json"
# Keras rounds it to float32 with TensorFlow, and there alone.
MOMENTUM = float(np.float32(0.9))


class Computed(NamedTuple):
    """What a backend has computed.

    Attributes:
        version: Of the framework.
        device: What it ran on.
        names: Paths of the trainable weights.
        logits: Of the first batch, in training mode.
        gradients: Of the first loss, one for each trainable weight.
        first_statistics: Weights that no gradient changes, after a step.
        last_statistics: The same, after all steps.
        losses: Of every step.
        seconds: Of every step.
        cpu_seconds: Of every step, of all cores together: what other load
            on the machine hardly changes.
        peak: MiB that building and training took on top of what the process
            had before.
    """

    version: str
    device: str
    names: list[str]
    logits: np.ndarray
    gradients: list[np.ndarray]
    first_statistics: list[np.ndarray]
    last_statistics: list[np.ndarray]
    losses: np.ndarray
    seconds: np.ndarray
    cpu_seconds: np.ndarray
    peak: float


def main() -> None:
    """Computes what the settings ask for, and writes it."""
    folder = Path(sys.argv[1])
    settings = json.loads((folder / SETTINGS).read_text("utf-8"))
    warnings.simplefilter("ignore", keras_deconv.SmallBatchWarning)
    # Keras's own rounds float64 to float32 on PyTorch and JAX.
    keras.layers.GlobalAveragePooling2D.call = pool
    write(folder, compute(folder, settings))


def compute(folder: Path, settings: dict[str, Any]) -> Computed:
    """Takes the gradient of the first batch, and then all training steps."""
    before = peak_bytes()
    keras.utils.set_random_seed(settings["seed"])
    keras.config.set_floatx(settings["dtype"])
    model = make_model(settings["model"], settings["preset"], settings["side"])
    switch_off_noise(model)
    weights = folder / WEIGHTS
    if weights.exists():
        model.load_weights(weights)
    else:
        model.save_weights(weights)
    start = model.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    feed = real_batches(model.input_shape[1:], settings)
    logits, gradients = loss_gradients(model, loss, *next(feed))
    model.set_weights(start)
    optimizer = keras.optimizers.SGD(
        settings["learning_rate"], momentum=MOMENTUM
    )
    model.compile(optimizer, loss)
    feed = real_batches(model.input_shape[1:], settings)
    losses, seconds, cpu_seconds, first = [], [], [], []
    for step in range(settings["steps"]):
        images, labels = next(feed)
        clock, cpu_clock = time.perf_counter(), time.process_time()
        losses.append(float(model.train_on_batch(images, labels)))
        seconds.append(time.perf_counter() - clock)
        cpu_seconds.append(time.process_time() - cpu_clock)
        if step == 0:
            first = statistics(model)
    return Computed(
        version=importlib.import_module(keras.backend.backend()).__version__,
        device=device(),
        names=[weight.path for weight in model.trainable_weights],
        logits=logits,
        gradients=gradients,
        first_statistics=first,
        last_statistics=statistics(model),
        losses=np.array(losses),
        seconds=np.array(seconds),
        cpu_seconds=np.array(cpu_seconds),
        peak=(peak_bytes() - before) / MIB,
    )


def write(folder: Path, computed: Computed) -> None:
    """Writes `BACKEND.npz`; lists become one array for each item."""
    arrays: dict[str, Any] = {}
    for name, value in computed._asdict().items():
        if isinstance(value, list) and name != "names":
            value = {f"{name}/{i}": item for i, item in enumerate(value)}
            arrays |= value
        else:
            arrays[name] = np.asarray(value)
    np.savez(folder / f"{keras.backend.backend()}.npz", **arrays)


def read(path: Path) -> Computed:
    """Reads what `write` has written."""
    with np.load(path) as arrays:
        values = {}
        for name in Computed._fields:
            if name in arrays:
                values[name] = arrays[name].tolist()
                if arrays[name].ndim and name != "names":
                    values[name] = arrays[name]
            else:
                count = sum(key.startswith(f"{name}/") for key in arrays)
                values[name] = [arrays[f"{name}/{i}"] for i in range(count)]
    return Computed(**values)


def make_model(name: str, preset: str | None, side: int) -> keras.Model:
    """Returns a classifier of ten classes, deconvolved if so asked.

    Args:
        name: One of `OURS`, or `LIBRARY/MODEL` of the zoo, whose backbones
            get a linear head.
        preset: Of `deconvolutionize`; None leaves the model as it is.
        side: Of the images, for a model of ours.

    Raises:
        ValueError: If there is no such model, or it has not one image as
            input and one vector or map as output.
    """
    library, _, rest = name.rpartition("/")
    makers = LIBRARIES[library]() if library in LIBRARIES else {}
    if name in OURS:
        model = getattr(keras_deconv.models, name)(input_shape=(side, side, 3))
    elif rest in makers:
        model = with_head(makers[rest]())
    else:
        raise ValueError(
            f"the model must be one of {', '.join(OURS)}, or LIBRARY/MODEL "
            f"with a library of {', '.join(LIBRARIES)}; got {name!r}"
            + (f", known there: {', '.join(makers)}" if makers else "")
        )
    if preset is None:
        return model
    return keras_deconv.deconvolutionize(model, preset=preset)


def with_head(model: keras.Model) -> keras.Model:
    """Returns logits of a backbone's map, or of a classifier."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "the model must have one input and one output; got "
            f"{len(model.inputs)} and {len(model.outputs)}"
        )
    x = model.outputs[0]
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    if x.shape[-1] != CLASSES:
        x = keras.layers.Dense(CLASSES)(x)
    return keras.Model(model.inputs[0], x)


def pool(layer: keras.layers.Layer, inputs: Any) -> Any:
    """Does what `GlobalAveragePooling2D` does, in the precision of inputs."""
    axes = (1, 2) if layer.data_format == "channels_last" else (2, 3)
    total = keras.ops.sum(inputs, axes, keepdims=layer.keepdims)
    return total / (inputs.shape[axes[0]] * inputs.shape[axes[1]])


def switch_off_noise(model: keras.Model) -> None:
    """Takes out dropout: each backend draws numbers of its own."""
    for layer in model._flatten_layers():
        if isinstance(getattr(layer, "rate", None), float):
            layer.rate = 0.0


def real_batches(
    shape: tuple[int, ...], settings: dict[str, Any]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images and labels, the same on each backend."""
    folder = settings["data_dir"]
    data = load("cifar10", Path(folder)) if folder else load(SAMPLE)
    for picks in batches(
        len(data.x_train), settings["batch_size"], settings["seed"]
    ):
        yield resized(data.x_train[picks], shape), data.y_train[picks]


def resized(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns images of another size, by the nearest pixels."""
    rows, columns = (
        np.arange(wanted) * given // wanted
        for wanted, given in zip(shape[:2], images.shape[1:3], strict=True)
    )
    return np.ascontiguousarray(images[:, rows][:, :, columns])


def statistics(model: keras.Model) -> list[np.ndarray]:
    """Returns the weights with statistics: means, variances and D."""
    return [
        np.array(keras.ops.convert_to_numpy(weight))
        for weight in model.non_trainable_weights
        if "float" in str(weight.dtype)
    ]


def device() -> str:
    """Says where tensors lie, in the framework's words."""
    place = str(keras.ops.ones(1).device)
    return place.rpartition("device:")[-1].lower()


if __name__ == "__main__":
    main()

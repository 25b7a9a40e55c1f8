"""How much memory does a training step take against batch normalization?

    KERAS_BACKEND=torch python benchmarks/memory.py --network resnet18

Each form of a network is trained for a few steps in a process of its own. On
the CPU, what counts is how far the largest resident memory rises above that
before the network was built; on a GPU, the largest allocation of its
allocator. A tiny network is converted and trained before: Keras imports
TensorFlow, if it is there, the first time that it copies a model, on any
backend.
"""

import gc
import json
import math
import os
import subprocess
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import keras_deconv
from _networks import FORMS
from _networks import NETWORKS
from _networks import add_ratios
from _networks import batch
from _networks import make_form
from _networks import make_parser
from _networks import prepare
from _networks import publish

QUESTION = (
    "How much memory does a training step take against batch normalization?"
)
MIB = 2**20
STEPS = 4


def measure(name: str, form: str, batch_size: int) -> dict[str, Any]:
    """Trains one form in this process and returns its record."""
    keras_deconv.fold(keras_deconv.deconvolutionize(NETWORKS["small"][0]()))
    train("small", form, 2, steps=1)
    before = peak_bytes()
    model = train(name, form, batch_size, STEPS)
    return {
        "form": form,
        "peak, MiB": (peak_bytes() - before) / MIB,
        "trainable weights": count(model.trainable_weights),
        "other weights": count(model.non_trainable_weights),
    }


def train(name: str, form: str, batch_size: int, steps: int) -> keras.Model:
    """Makes a form of a network, and trains it for a few steps."""
    model = make_form(name, form)
    gc.collect()  # The network that it was made of.
    prepare(model)
    images, labels = batch(name, batch_size)
    for _ in range(steps):
        float(model.train_on_batch(images, labels))
    return model


def peak_bytes() -> float:
    """Returns the largest memory so far, of the GPU if there is one."""
    match keras.backend.backend():
        case "torch":
            import torch

            if torch.cuda.is_available():
                return torch.cuda.max_memory_allocated()
        case "jax":
            import jax

            if stats := jax.local_devices()[0].memory_stats():
                return stats["peak_bytes_in_use"]
        case "tensorflow":
            import tensorflow as tf

            if tf.config.list_physical_devices("GPU"):
                return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def count(weights: list[Any]) -> int:
    """Returns how many numbers the weights hold."""
    return sum(math.prod(weight.shape) for weight in weights)


def measure_apart(name: str, form: str, batch_size: int) -> dict[str, Any]:
    """Returns the record of one form, from a process of its own."""
    command = [sys.executable, __file__, "--network", name]
    command += ["--batch-size", str(batch_size), "--form", form]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--form", choices=FORMS, help="measure one, and print its record"
    )
    options = parser.parse_args()
    name, batch_size = options.network, options.batch_size
    if options.form:
        print(json.dumps(measure(name, options.form, batch_size)))
        return
    records = [measure_apart(name, form, batch_size) for form in FORMS]
    add_ratios(records, "peak, MiB")
    publish("memory", QUESTION, options, records)


if __name__ == "__main__":
    main()

"""A tiny network, batches that tell replicas apart, and what training shows.

For the scripts that `distributed/test_replicas.py` runs.
"""

import keras
import numpy as np

import keras_deconv

STEPS = 10
BATCH = 16
LEARNING_RATE = 0.05


def batches():
    """Returns images `(STEPS, BATCH, 6, 6, 2)` and labels `(STEPS, BATCH)`.

    Every second image is another kind of image: two replicas that take
    every second one have different means and covariances.
    """
    rng = np.random.default_rng(0)
    images = rng.normal(size=(STEPS, BATCH, 6, 6, 2))
    images = images + 0.7 * np.roll(images, 1, axis=-2)
    images = images @ [[1.0, 0.4], [0.0, 1.0]] + 0.8
    images[:, 1::2] = 2 * images[:, 1::2, ..., ::-1] - 1
    return images, rng.integers(0, 3, (STEPS, BATCH))


def make_model(synchronized=True):
    """Returns a network whose layers take statistics on different steps.

    The first on every step, the others on steps 0, 1, 3, 6 and 9, the last
    no more from step 8 on. Convolutions alone: on PyTorch, `ops.matmul` and
    `ops.mean` round float64 to float32.
    """
    keras.config.set_floatx("float64")
    keras.utils.set_random_seed(0)
    common = {"synchronized": synchronized, "epsilon": 1e-2}
    schedule = {"update_every": 3, "warmup_steps": 2}
    layers = [
        keras_deconv.DeconvConv2D(
            4,
            3,
            padding="same",
            activation="relu",
            update_every=1,
            name="conv",
            **common,
        ),
        keras_deconv.DeconvSeparableConv2D(
            4,
            2,
            strides=3,
            activation="relu",
            sampling_stride=1,
            name="separable",
            **common,
            **schedule,
        ),
        keras_deconv.DeconvConv2D(
            3,
            2,
            block_size=2,
            freeze_after=8,
            name="head",
            **common,
            **schedule,
        ),
        keras.layers.Flatten(name="flat"),
    ]
    return keras.Sequential([keras.Input((6, 6, 2)), *layers], name="tiny")


def make_optimizer():
    return keras.optimizers.SGD(LEARNING_RATE, momentum=0.9)


def make_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train(model, step):
    """Trains; `step` takes a whole batch and returns its loss.

    Returns:
        Arrays by name: losses, weights by path, and how the first step has
        changed them, which is their gradient if they have one.
    """
    start = values(model.weights)
    losses, first = [], {}
    for images, labels in zip(*batches(), strict=True):
        losses.append(float(step(images, labels)))
        first = first or changes(start, values(model.weights))
    return {"losses": np.array(losses)} | first | values(model.weights)


def values(weights):
    """Returns the values of variables by path."""
    return {
        weight.path: np.array(keras.ops.convert_to_numpy(weight))
        for weight in weights
    }


def changes(start, now):
    """Returns how values have changed in the first step."""
    return {f"first/{path}": now[path] - start[path] for path in now}

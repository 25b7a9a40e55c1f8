"""Two replicas of TensorFlow against one: `tensorflow_replicas.py FOLDER`.

All are trained by Keras's own `fit`.
"""

import contextlib
import sys

import keras
import numpy as np
import tensorflow as tf

import tiny

REPLICAS = 2


class Watch(keras.callbacks.Callback):
    """The loss of each step, and how the first has changed the weights."""

    def on_train_begin(self, logs=None):
        self.sums = [0.0]
        self.start = tiny.values(self.model.weights)

    def on_train_batch_end(self, batch, logs=None):
        # Keras hands out the mean of all steps so far.
        self.sums.append(float(logs["loss"]) * (batch + 1))
        if batch == 0:
            now = tiny.values(self.model.weights)
            self.first = tiny.changes(self.start, now)


def fit(synchronized, strategy=None):
    """Returns what training shows, as each replica has it."""
    scope = strategy.scope() if strategy else contextlib.nullcontext()
    with scope:
        model = tiny.make_model(synchronized)
        model.compile(tiny.make_optimizer(), tiny.make_loss())
    watch = Watch()
    data = tf.data.Dataset.from_tensor_slices(in_halves(*tiny.batches()))
    model.fit(
        data.batch(tiny.BATCH, drop_remainder=True),
        verbose=0,
        callbacks=[watch],
    )
    watched = {"losses": np.diff(watch.sums)} | watch.first
    if strategy is None:
        return watched | tiny.values(model.weights)
    of_replicas = zip(
        *(
            strategy.experimental_local_results(weight.value)
            for weight in model.weights
        ),
        strict=True,
    )
    paths = [weight.path for weight in model.weights]
    return [
        watched
        | {
            path: value.numpy()
            for path, value in zip(paths, replica, strict=True)
        }
        for replica in of_replicas
    ]


def in_halves(*batches):
    """Puts every second image into the second half of its batch."""
    return tuple(
        np.concatenate([batch[:, ::2], batch[:, 1::2]], axis=1).reshape(
            -1, *batch.shape[2:]
        )
        for batch in batches
    )


def main(folder):
    (cpu,) = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * REPLICAS)
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(REPLICAS)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
    np.savez(f"{folder}/alone.npz", **fit(True))
    for case in ("synchronized", "separate"):
        for index, found in enumerate(fit(case == "synchronized", strategy)):
            np.savez(f"{folder}/{case}_{index}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])

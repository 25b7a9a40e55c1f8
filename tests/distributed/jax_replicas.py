"""Two devices of JAX against one: `jax_replicas.py FOLDER`."""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import keras
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec

import tiny

jax.config.update("jax_enable_x64", True)


def train(distribution):
    """Returns what training by Keras's own step shows."""
    keras.distribution.set_distribution(distribution)
    model = tiny.make_model(synchronized=False)
    model.compile(tiny.make_optimizer(), tiny.make_loss())

    def step(images, labels):
        model.reset_metrics()
        return model.train_on_batch(images, labels)

    found = tiny.train(model, step)
    keras.distribution.set_distribution(None)
    return found


def step_of_shards(synchronized):
    """Returns what a step of one's own shows, which sees its share alone."""
    model, loss = tiny.make_model(synchronized), tiny.make_loss()
    variables = model.trainable_variables, model.non_trainable_variables

    def objective(trainable, state, images, labels):
        outputs, state = model.stateless_call(
            trainable, state, images, training=True
        )
        return loss(labels, outputs), state

    def step(weights, images, labels):
        gradients, state = jax.grad(objective, has_aux=True)(
            *weights, images, labels
        )
        return jax.lax.pmean(gradients, "data"), state

    data, whole = PartitionSpec("data"), PartitionSpec()
    mapped = jax.shard_map(
        step,
        mesh=Mesh(np.array(jax.devices()), ("data",)),
        in_specs=(whole, data, data),
        out_specs=whole,
        check_vma=False,
    )
    images, labels = (batches[0] for batches in tiny.batches())
    # The devices take a half each.
    order = [*range(0, tiny.BATCH, 2), *range(1, tiny.BATCH, 2)]
    gradients, state = jax.jit(mapped)(
        [[each.value for each in group] for group in variables],
        images[order],
        labels[order],
    )
    trained, others = ([each.path for each in group] for group in variables)
    start = tiny.values(model.weights)
    now = dict(zip(others, state, strict=True)) | {
        path: start[path] - tiny.LEARNING_RATE * gradient
        for path, gradient in zip(trained, gradients, strict=True)
    }
    return tiny.changes(start, now)


if __name__ == "__main__":
    (folder,) = sys.argv[1:]
    np.savez(f"{folder}/alone.npz", **train(None))
    np.savez(
        f"{folder}/keras_0.npz", **train(keras.distribution.DataParallel())
    )
    np.savez(f"{folder}/synchronized_0.npz", **step_of_shards(True))
    np.savez(f"{folder}/separate_0.npz", **step_of_shards(False))

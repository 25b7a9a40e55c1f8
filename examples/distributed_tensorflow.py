"""Distributed training on TensorFlow, by a strategy of `tf.distribute`.

    python examples/distributed_tensorflow.py

trains on all GPUs, or on two virtual devices of the CPU where there is none,
in one process, by `MirroredStrategy`.

    python examples/distributed_tensorflow.py --workers 2

starts two processes, which train together by `MultiWorkerMirroredStrategy`,
each with one virtual device, or with all GPUs it sees. A machine of a cluster
runs the command with its own TF_CONFIG in the environment.
"""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from _arguments import positive
from _distributed_options import make_parser
from _workers import launch
from _workers import local_addresses


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains in this process, or starts those that do."""
    parser = make_parser(__doc__, "distributed_tensorflow.keras")
    add = parser.add_argument
    add(
        "--devices",
        type=positive(int),
        default=2,
        help="virtual devices of one process, where there is no GPU",
    )
    add(
        "--workers",
        type=positive(int),
        default=1,
        help="processes (default: 1)",
    )
    options = parser.parse_args(arguments)
    if "TF_CONFIG" in os.environ or options.workers == 1:
        work(options)
    else:
        launch(environments(options.workers))


def environments(count: int) -> list[dict[str, str]]:
    """Returns the TF_CONFIG of each worker of a cluster on this machine."""
    cluster = {"worker": local_addresses(count)}
    return [
        {
            "no_proxy": "127.0.0.1",
            "TF_CONFIG": json.dumps(
                {
                    "cluster": cluster,
                    "task": {"type": "worker", "index": index},
                }
            ),
        }
        for index in range(count)
    ]


def work(options: argparse.Namespace) -> None:
    """Trains with all devices of this process."""
    # Not on top: the process that starts others needs none of it.
    import tensorflow as tf

    from _datasets import load
    from _distributed import check_batch
    from _distributed import make_model
    from _distributed import report
    from _distributed import train

    strategy = make_strategy(options.devices)
    check_batch(options.batch_size, strategy.num_replicas_in_sync)
    data = load(options.dataset, options.data_dir)
    with strategy.scope():
        model = make_model(options, data)

    def replica_step(images, labels):
        with tf.GradientTape() as tape:
            # Keras divides the loss by the number of replicas, so that the
            # sum of all gradients is that of the whole batch.
            loss = model.loss(labels, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_weights)
        model.optimizer.apply(gradients, model.trainable_weights)
        return loss

    # `fit` does the same, but not in several processes: with Keras 3.15 it
    # fails there, whatever the model.
    @tf.function
    def global_step(images, labels):
        losses = strategy.run(replica_step, args=(images, labels))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def share_out(batch):
        def part(context):
            index = context.replica_id_in_sync_group
            return tf.constant(batch[index :: context.num_replicas_in_sync])

        return strategy.experimental_distribute_values_from_function(part)

    def step(images, labels):
        return global_step(share_out(images), share_out(labels))

    is_chief = strategy.cluster_resolver is None or (
        strategy.cluster_resolver.task_id == 0
    )
    train(model, data, options, step, is_chief)
    if is_chief:
        report(options.checkpoint, data)


def make_strategy(devices: int) -> Any:
    """Returns the strategy of this process, or of the cluster it is in."""
    import tensorflow as tf

    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    (cpu,) = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * devices)
    # The default is made for GPUs.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(devices)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


if __name__ == "__main__":
    main()

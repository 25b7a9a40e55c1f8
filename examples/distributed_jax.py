"""Distributed training on JAX, by `keras.distribution`.

    python examples/distributed_jax.py

trains on all GPUs, or on two virtual devices of the CPU where there is none.
Every device takes a part of each batch; with --model-parallel, a part of the
blocks of every layer.
"""

import argparse
import os
from collections.abc import Sequence

os.environ["KERAS_BACKEND"] = "jax"

from _arguments import positive
from _distributed_options import make_parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the command line asks for."""
    parser = make_parser(__doc__, "distributed_jax.keras")
    add = parser.add_argument
    add(
        "--devices",
        type=positive(int),
        default=2,
        help="virtual devices, where there is no GPU",
    )
    add(
        "--model-parallel",
        action="store_true",
        help="divide blocks, not batches",
    )
    options = parser.parse_args(arguments)
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={options.devices}"
    )
    work(options)


def work(options: argparse.Namespace) -> None:
    """Trains on all devices."""
    # Not on top: the flags must be there before JAX is.
    import keras
    from keras import distribution

    from _datasets import load
    from _distributed import check_batch
    from _distributed import make_model
    from _distributed import report
    from _distributed import train

    data = load(options.dataset, options.data_dir)
    settings = {}
    if options.model_parallel:
        # Many blocks, with a D each, so that there is something to divide.
        settings = {
            "block_layout": "contiguous",
            "block_size": 8,
            "share_blocks": False,
        }
        chosen = divide_blocks(make_model(options, data, **settings))
        keras.utils.clear_session()  # Layers get the same names again.
    else:
        check_batch(options.batch_size, len(distribution.list_devices()))
        chosen = distribution.DataParallel()
    # Before the model is made: it says where weights are put.
    distribution.set_distribution(chosen)
    model = make_model(options, data, **settings)
    if options.model_parallel:
        report_division(model)

    def step(images, labels):
        model.reset_metrics()  # Older Keras returns the mean of all steps.
        return model.train_on_batch(images, labels)

    train(model, data, options, step)
    distribution.set_distribution(None)
    report(options.checkpoint, data)


def divide_blocks(model):
    """Returns a distribution that gives each device a part of the blocks.

    Statistics are divided along their first axis, the blocks, where the
    number of devices divides that, and covariance and root with them.
    Everything else, images included, is on all devices.
    """
    from keras import distribution

    from keras_deconv.layers import Whitening

    devices = distribution.list_devices()
    layout = distribution.LayoutMap(
        distribution.DeviceMesh((1, len(devices)), ("batch", "model"), devices)
    )
    for layer in model.layers:
        if isinstance(layer, Whitening):
            for weight in layer.non_trainable_weights:
                rank = len(weight.shape)
                if rank and weight.shape[0] % len(devices) == 0:
                    key = f".*{layer.name}/{weight.name}"
                    layout[key] = ("model", *[None] * (rank - 1))
    return distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")


def report_division(model):
    """Says how many weights are divided: wrong keys are not complained of."""
    weights = model.non_trainable_weights
    divided = sum(
        not weight.value.sharding.is_fully_replicated for weight in weights
    )
    print(f"{divided} of {len(weights)} statistics are divided", flush=True)


if __name__ == "__main__":
    main()

"""One batch, spread over all devices of a machine."""

import contextlib
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import nullcontext

import keras

from _batches import Batches


def check_backend(is_wanted: bool, batches: Iterable[Batches] = ()) -> None:
    """Raises ValueError if batches are to be spread, and cannot be.

    Args:
        is_wanted: Whether they are to be.
        batches: Those to train and to test on.
    """
    backend = keras.backend.backend()
    if is_wanted and backend not in ("jax", "tensorflow"):
        raise ValueError(
            "--distributed is one line of Keras on JAX and TensorFlow alone; "
            "on PyTorch see examples/distributed_torch.py. "
            f"Received: KERAS_BACKEND={backend}"
        )
    if is_wanted and backend == "jax":
        devices = len(keras.distribution.list_devices())
        sizes = set().union(*(each.sizes for each in batches))
        if left := sorted(size for size in sizes if size % devices):
            raise ValueError(
                "On JAX, the devices must divide each batch, the last one of "
                f"the test set too. Received: {devices} devices and batches "
                f"of {', '.join(map(str, left))}"
            )


def data_parallel(is_wanted: bool) -> AbstractContextManager[None]:
    """Returns a scope whose networks spread each batch over all devices.

    `keras.utils.clear_session` within it would end it on TensorFlow.
    """
    if not is_wanted:
        return nullcontext()
    check_backend(is_wanted)
    if keras.backend.backend() == "jax":
        return _jax_devices()
    import tensorflow as tf

    return tf.distribute.MirroredStrategy().scope()


@contextlib.contextmanager
def _jax_devices() -> Iterator[None]:
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)

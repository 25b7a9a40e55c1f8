"""One batch, spread over all devices of a machine."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import nullcontext

import keras


def check_backend(is_wanted: bool) -> None:
    """Raises ValueError if a batch is to be spread, and Keras has no switch."""
    backend = keras.backend.backend()
    if is_wanted and backend not in ("jax", "tensorflow"):
        raise ValueError(
            "--distributed is one line of Keras on JAX and TensorFlow alone; "
            "on PyTorch see examples/distributed_torch.py. "
            f"Received: KERAS_BACKEND={backend}"
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

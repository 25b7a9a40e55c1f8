"""One batch, spread over all devices of a machine."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import nullcontext

import keras


def data_parallel(is_wanted: bool) -> AbstractContextManager[None]:
    """Returns a scope whose networks spread each batch over all devices.

    Raises:
        ValueError: The backend of Keras has no such switch.
    """
    if not is_wanted:
        return nullcontext()
    match keras.backend.backend():
        case "jax":
            return _jax_devices()
        case "tensorflow":
            import tensorflow as tf

            return tf.distribute.MirroredStrategy().scope()
        case backend:
            raise ValueError(
                "--distributed is one line of Keras on JAX and TensorFlow "
                "alone; on PyTorch see examples/distributed_torch.py. "
                f"Received: KERAS_BACKEND={backend}"
            )


@contextlib.contextmanager
def _jax_devices() -> Iterator[None]:
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)

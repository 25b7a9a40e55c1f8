"""The one module that speaks to TensorFlow, PyTorch or JAX themselves.

`keras.ops` has no word for what is asked for here. Each framework is
imported only while Keras runs on it.
"""

import contextlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras


def full_precision() -> AbstractContextManager[None]:
    """Returns a context in which products keep all bits of float32.

    On GPUs, JAX and TensorFlow multiply float32 matrices in TF32, which
    keeps 10 bits of the mantissa, unless told otherwise; a root multiplies
    that error. JAX takes the precision with each product, gradients
    included. PyTorch keeps all bits by default, and what
    `torch.set_float32_matmul_precision` says is the user's choice.
    TensorFlow has one switch for the whole process: `warn_of_tf32`.
    """
    if keras.backend.backend() == "jax":
        import jax

        precision: AbstractContextManager[None] = jax.default_matmul_precision(
            "float32"
        )
        return precision
    return contextlib.nullcontext()


def warn_of_tf32() -> None:
    """Warns if TensorFlow is going to compute roots in TF32 on a GPU."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if (
        tf.config.list_physical_devices("GPU")
        and tf.config.experimental.tensor_float_32_execution_enabled()
    ):
        warnings.warn(
            "TensorFlow multiplies in TF32 on this GPU, the statistics of "
            "deconvolution layers too. "
            "`tf.config.experimental.enable_tensor_float_32_execution(False)` "
            "makes it keep all bits of float32.",
            stacklevel=2,
        )


def run_abstractly(function: Callable[[Any], Any], inputs: Any) -> None:
    """Calls a function for what it does on the way, not for its result.

    JAX compiles every operation that it runs by itself, which takes seconds
    for a network; it traces the function instead.
    """
    if keras.backend.backend() == "jax":
        import jax

        jax.eval_shape(function, inputs)
    else:
        function(inputs)

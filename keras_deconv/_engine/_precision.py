"""In how many bits statistics, root and folding are computed."""

import contextlib
import os
import warnings
from contextlib import AbstractContextManager
from typing import Any

import keras


def full_precision() -> AbstractContextManager[Any]:
    """Returns a context in which products keep all bits of float32.

    On GPUs, JAX and TensorFlow multiply float32 matrices in TF32, which
    keeps 10 bits of the mantissa, unless told otherwise; a root multiplies
    that error. JAX takes the precision with each product, gradients
    included. PyTorch keeps all bits by default, and what
    `torch.set_float32_matmul_precision` says is the user's choice; but not
    that `torch.autocast` rounds its factors to half of them.
    TensorFlow has one switch for the whole process: `warn_of_tf32`.
    """
    if keras.backend.backend() == "torch":
        return _without_autocast()
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


def warn_of_triton() -> None:
    """Warns if XLA is going to measure kernels of Triton for each product.

    On an H100 it took 22 s for one root of 144 features, and more than 90 s
    for a VGG11, to find kernels no faster than those of cuBLAS.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if keras.backend.backend() != "jax" or "triton_gemm" in flags:
        return
    import jax

    if jax.default_backend() == "gpu":
        warnings.warn(
            "On a GPU, XLA measures dozens of Triton kernels for each product "
            "of deconvolution layers: a VGG11 takes over 90 s to start. "
            "Set XLA_FLAGS=--xla_gpu_enable_triton_gemm=false in the "
            "environment, before JAX starts.",
            stacklevel=2,
        )


def _without_autocast() -> AbstractContextManager[Any]:
    import torch

    kinds = [
        kind
        for kind in ("cuda", "cpu", "mps", "xpu")
        if torch.is_autocast_enabled(kind)
    ]
    if not kinds:
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    for kind in kinds:
        stack.enter_context(torch.autocast(kind, enabled=False))
    return stack

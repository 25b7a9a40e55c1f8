"""What every test shares."""

import os

# On a GPU, JAX compiles far longer without, and layers warn of it.
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=false")

import hypothesis
import keras
import numpy as np
import pytest

# The same examples in every run. JAX compiles each operation anew for each
# shape, so it takes fewer, and none has a deadline.
hypothesis.settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    max_examples=6 if keras.backend.backend() == "jax" else 25,
)
hypothesis.settings.load_profile("suite")


def _keep_all_bits():
    """Takes TF32 out of every product: parity is asserted in float32.

    Only GPUs know TF32. All tolerances of the suite are for float32.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(False)
        case "torch":
            import torch

            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        case "jax":
            import jax

            jax.config.update("jax_default_matmul_precision", "float32")


def _split_the_cpu():
    """Lets JAX have two devices, for the tests that spread batches."""
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", 2)


_keep_all_bits()
_split_the_cpu()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def correlated(rng):
    """Returns a function: shape to inputs correlated in space and channel."""

    def make(*shape):
        noise = rng.normal(size=shape)
        for axis in range(1, len(shape) - 1):
            noise = noise + 0.7 * np.roll(noise, 1, axis)
        mixing = np.eye(shape[-1]) + 0.5 * rng.normal(size=(shape[-1],) * 2)
        return (noise @ mixing + 0.8).astype("float32")

    return make

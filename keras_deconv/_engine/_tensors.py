"""Operations on tensors that are cheaper, or more exact, than `keras.ops`."""

import functools
import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def reshape(inputs: Any, shape: Sequence[Any]) -> Any:
    """Reshapes; on PyTorch in a tenth of the time of `ops.reshape`."""
    if keras.backend.backend() == "torch":
        return inputs.reshape(tuple(shape))
    return keras.ops.reshape(inputs, shape)


def where(condition: Any, this: Any, other: Any) -> Any:
    """Chooses between tensors of one dtype.

    On PyTorch, `ops.where` promotes them first, which takes several times as
    long as the choice.
    """
    if keras.backend.backend() == "torch":
        return this.where(condition, other)
    return keras.ops.where(condition, this, other)


def as_number(count: Any, like: Any) -> Any:
    """Returns a count to calculate with: what is known needs no tensor.

    Args:
        count: A number, or a tensor of one.
        like: A tensor, whose dtype is taken.
    """
    return (
        count if isinstance(count, int) else keras.ops.cast(count, like.dtype)
    )


def constant(make: Callable[..., Any], *arguments: Any, like: Any) -> Any:
    """Returns the array that a function makes of numbers, as a tensor.

    PyTorch makes it once: each time is a copy to the GPU.

    Args:
        make: Returns an array.
        *arguments: Of this function, to be told apart by their values.
        like: A tensor, whose dtype and device are taken.
    """
    if keras.backend.backend() == "torch":
        return _torch_constant(make, arguments, like)
    return keras.ops.convert_to_tensor(make(*arguments), like.dtype)


def eye(size: Any, like: Any, scale: float = 1) -> Any:
    """`scale * ops.eye`, which PyTorch need not make anew on each call.

    Args:
        size: Of either axis.
        like: Has the dtype and the device that are wanted.
        scale: On the diagonal.
    """
    if keras.backend.backend() == "torch":
        return _torch_constant(_eye, (size, scale), like)
    return scale * keras.ops.eye(size, dtype=like.dtype)


def multiply(x: Any, y: Any) -> Any:
    """Returns `x @ y`: one operation of PyTorch for `(n, F, F)`, not four."""
    if keras.backend.backend() == "torch" and x.ndim == y.ndim == 3:
        return x.bmm(y)
    return x @ y


def add_product(start: Any, x: Any, y: Any, factor: float = 1) -> Any:
    """Returns `factor * start + x @ y`.

    One operation of PyTorch for `(n, F, F)`.
    """
    if keras.backend.backend() == "torch" and start.ndim == 3:
        return start.baddbmm(x, y, beta=factor)
    return (start if factor == 1 else factor * start) + x @ y


def has_fast_eigh(matrix: Any) -> bool:
    """Whether a decomposition takes less time than two dozen products.

    LAPACK's on a CPU does, where PyTorch calls it. Those of XLA, which
    compiles the steps of TensorFlow and JAX, and those of GPUs are slow.
    """
    return bool(
        keras.backend.backend() == "torch" and matrix.device.type == "cpu"
    )


def average(inputs: Any, axis: int) -> Any:
    """Returns the mean along an axis.

    On PyTorch, `ops.mean` returns that of float64 in float32.
    """
    ops = keras.ops
    inputs = ops.convert_to_tensor(inputs)
    if keras.backend.backend() == "torch":
        return inputs.mean(axis)
    count = as_number(ops.shape(inputs)[axis], like=inputs)
    return ops.sum(inputs, axis=axis) / count


def lerp(start: Any, end: Any, weight: Any) -> Any:
    """Returns `(1 - weight) * start + weight * end`.

    Args:
        start: A tensor.
        end: One of the same dtype.
        weight: A number, or a tensor that is broadcast to both.
    """
    if keras.backend.backend() == "torch":
        return start.lerp(end, weight)
    return start * (1 - weight) + end * weight


def mean_and_variance(inputs: Any, axis: int = 0) -> tuple[Any, Any]:
    """Returns mean and variance over an axis.

    `ops.var` returns that of float64 in float32, and so does `ops.mean` on
    PyTorch, which has one operation for both.
    """
    if keras.backend.backend() == "torch":
        import torch

        variance, mean = torch.var_mean(inputs, dim=axis, correction=0)
        return mean, variance
    mean = average(inputs, axis)
    centred = inputs - keras.ops.expand_dims(mean, axis)
    return mean, average(keras.ops.square(centred), axis)


def norm_of_matrix(matrix: Any, order: float) -> Any:
    """Returns the norm of all entries of `(..., F, F)`, `(..., 1, 1)`.

    One operation of PyTorch, in place of two or three.

    Args:
        matrix: A tensor.
        order: 2, or infinity for the largest.
    """
    if keras.backend.backend() == "torch":
        import torch

        return torch.linalg.vector_norm(matrix, order, (-2, -1), keepdim=True)
    ops = keras.ops
    if math.isinf(order):
        return ops.max(ops.abs(matrix), axis=(-2, -1), keepdims=True)
    return ops.sqrt(ops.sum(ops.square(matrix), axis=(-2, -1), keepdims=True))


def _eye(size: int, scale: float) -> np.ndarray:
    return scale * np.eye(size)


def _torch_constant(
    make: Callable[..., Any], arguments: tuple[Any, ...], like: Any
) -> Any:
    import torch

    is_real = type(like) in (torch.Tensor, torch.nn.Parameter)
    # Where tensors are only pretended, as in `torch.export`, so is this one,
    # and is of no use to later calls.
    make_one = _kept_constant if is_real else _new_constant
    return make_one(make, arguments, like.dtype, like.device)


def _new_constant(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    dtype: Any,
    device: Any,
) -> Any:
    import torch

    # One that is made in inference mode would be of no use to a gradient.
    with torch.inference_mode(False):
        return torch.as_tensor(make(*arguments), dtype=dtype, device=device)


# Maps of any sizes may come by.
_kept_constant = functools.lru_cache(maxsize=1024)(_new_constant)

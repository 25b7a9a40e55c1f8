"""Parts of tensors, with gradients that are cheap."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras


def slice_axis(inputs: Any, axis: int, start: int, size: Any) -> Any:
    """Returns `size` elements of an axis, from `start` on.

    TensorFlow takes 25 times longer for the gradient of an index than for
    that of `tf.slice`, and has no gradient of the latter's with XLA. PyTorch
    is the quicker with an index.
    """
    if isinstance(size, int) and size == inputs.shape[axis]:
        return inputs
    if keras.backend.backend() != "tensorflow":
        return inputs[(*(slice(None),) * axis, slice(start, start + size))]
    import tensorflow as tf

    starts = [0] * len(inputs.shape)
    sizes = [-1 if known is None else known for known in inputs.shape]
    starts[axis], sizes[axis] = start, size

    @tf.custom_gradient
    def call(inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
        whole = inputs.shape[axis] or tf.shape(inputs)[axis]

        def backward(upstream: Any) -> Any:
            pads: list[list[Any]] = [[0, 0] for _ in starts]
            pads[axis] = [start, whole - start - size]
            return tf.pad(upstream, pads)

        return tf.slice(inputs, starts, sizes), backward

    return call(inputs)


def take_every(inputs: Any, strides: Sequence[int]) -> Any:
    """Returns every S-th position on each spatial axis, from the first on.

    For TensorFlow that is a pooling of windows of one position: an index
    with a stride takes it ten times as long, and three times with its
    gradient. PyTorch copies nothing at an index.

    Args:
        inputs: `(n, *spatial, C)`, of one to three spatial axes.
        strides: S for each of them.
    """
    if all(stride == 1 for stride in strides):
        return inputs
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # There is none of three axes in float64.
        if inputs.dtype == tf.float32:
            axes = "DHW"[-len(strides) :]
            return tf.nn.avg_pool(
                inputs, 1, list(strides), "VALID", f"N{axes}C"
            )
    every = [slice(None, None, stride) for stride in strides]
    return inputs[(slice(None), *every)]

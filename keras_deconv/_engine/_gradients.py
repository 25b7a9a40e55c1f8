"""Gradients of our own, and what frameworks' ones must be told."""

import functools
from collections.abc import Callable
from typing import Any

import keras


def with_gradient(
    forward: Callable[[Any], tuple[Any, tuple[Any, ...]]],
    backward: Callable[[tuple[Any, ...], Any], Any],
    inputs: Any,
) -> Any:
    """Calls a function of a tensor whose gradient is given.

    `ops.custom_gradient` on PyTorch is none of those that `torch.func` takes.

    Args:
        forward: Returns the result, and what the gradient needs.
        backward: Takes these and the gradient of the result, and returns
            that of the tensor.
        inputs: The tensor.
    """
    if keras.backend.backend() == "torch":
        outputs, *_ = _torch_with_gradient().apply(inputs, forward, backward)
        return outputs

    @keras.ops.custom_gradient
    def call(inputs: Any) -> tuple[Any, Callable[..., Any]]:
        outputs, kept = forward(inputs)
        return outputs, lambda upstream: backward(kept, upstream)

    return call(inputs)


def with_sizes_of_gradient(inputs: Any) -> Any:
    """Returns inputs whose gradient has their sizes, as far as XLA can tell.

    TensorFlow hands a branch's gradient the sizes that the branch has computed
    as numbers, of which XLA knows but the largest: it has no convolution of
    such a gradient.
    """
    is_known = None not in inputs.shape[1:]
    if keras.backend.backend() != "tensorflow" or is_known:
        return inputs
    import tensorflow as tf

    @tf.custom_gradient
    def call(inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
        return tf.identity(inputs), lambda upstream: tf.reshape(
            upstream, tf.shape(inputs)
        )

    return call(inputs)


def as_constant(variable: Any) -> Any:
    """Returns the value of a variable, as it stays for a gradient.

    What PyTorch's autograd has kept of the variable itself is of no use once
    that is assigned.
    """
    value = keras.ops.convert_to_tensor(variable)
    if keras.backend.backend() != "torch":
        return value
    import torch

    # A graph is to be the same, with gradients and without.
    tracing: Any = torch.jit
    is_graph = tracing.is_tracing() or torch.compiler.is_compiling()
    return value.clone() if torch.is_grad_enabled() and not is_graph else value


def gradients_are_in_order() -> bool:
    """Whether that of a convolution's kernel lies as Keras has its axes.

    PyTorch's has filters first, and another one takes long to add to it.
    """
    return bool(keras.backend.backend() != "torch")


@functools.cache
def _torch_with_gradient() -> Any:
    import torch

    class WithGradient(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(inputs: Any, forward: Any, backward: Any) -> Any:
            outputs, kept = forward(inputs)
            return outputs, *kept

        @staticmethod
        def setup_context(context: Any, inputs: Any, output: Any) -> None:
            _, *kept = output
            context.own_backward = inputs[2]
            context.mark_non_differentiable(*kept)
            context.save_for_backward(*kept)

        @staticmethod
        def backward(context: Any, upstream: Any, *kept: Any) -> Any:
            found = context.own_backward(context.saved_tensors, upstream)
            return found, None, None

    return WithGradient

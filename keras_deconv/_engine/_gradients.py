"""Gradients of our own, and what frameworks' ones must be told."""

import functools
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras

from keras_deconv._engine._precision import full_precision


class Rule(NamedTuple):
    """A function of one tensor, and its gradient.

    Attributes:
        forward: Takes the tensor; returns the result, and tensors that the
            gradient needs.
        backward: Takes these and the gradient of the result, and returns that
            of the tensor.
    """

    forward: Callable[[Any], tuple[Any, tuple[Any, ...]]]
    backward: Callable[[tuple[Any, ...], Any], Any]


def with_gradient(rule: Rule, inputs: Any, again: Rule | None = None) -> Any:
    """Calls a function whose gradient is given.

    `ops.custom_gradient` on PyTorch is none of those that `torch.func` takes.

    Args:
        rule: The function, by operations that have gradients themselves: the
            gradient of its gradient is made of these.
        inputs: The tensor.
        again: The same function in another way, which is taken where PyTorch
            is to have the gradient of the gradient.
    """
    if keras.backend.backend() == "torch":
        outputs, *_ = _torch_with_gradient().apply(
            inputs, rule, rule if again is None else again
        )
        return outputs

    @keras.ops.custom_gradient
    def call(inputs: Any) -> tuple[Any, Callable[..., Any]]:
        outputs, kept = rule.forward(inputs)
        return outputs, lambda upstream: rule.backward(kept, upstream)

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


def has_forward_mode() -> bool:
    """Whether derivatives are taken forward, too: by JAX.

    Not through functions whose gradient is given.
    """
    return bool(keras.backend.backend() == "jax")


def is_differentiated() -> bool:
    """Whether PyTorch, in a pass back, is to have the gradient of that."""
    import torch

    # A compiled one cannot be differentiated once more in any case.
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


@functools.cache
def _torch_with_gradient() -> Any:
    import torch

    class WithGradient(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(inputs: Any, rule: Rule, again: Rule) -> Any:
            outputs, kept = rule.forward(inputs)
            return outputs, *kept

        @staticmethod
        def setup_context(context: Any, inputs: Any, output: Any) -> None:
            tensor, *context.rules = inputs
            _, *kept = output
            context.mark_non_differentiable(*kept)
            # They have no gradients: not to be made as zeros.
            context.set_materialize_grads(False)
            context.save_for_backward(tensor, *kept)

        @staticmethod
        def backward(context: Any, upstream: Any, *_: Any) -> Any:
            if upstream is None:
                return None, None, None
            inputs, *kept = context.saved_tensors
            rule, again = context.rules
            # A pass back that is called with autocast has it too.
            with full_precision():
                if is_differentiated():
                    # Of what was kept, PyTorch does not know where it is from.
                    rule = again
                    _, kept = rule.forward(inputs)
                return rule.backward(tuple(kept), upstream), None, None

    return WithGradient

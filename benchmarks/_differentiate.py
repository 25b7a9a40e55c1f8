"""Forward and backward passes, the way each backend runs them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops


def compiled(function: Callable[..., Any], *values: Any) -> Callable[[], Any]:
    """Returns what runs `function(*values)`, and waits for the result."""
    tensors = [ops.convert_to_tensor(value) for value in values]
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            traced = tf.function(function)
            return lambda: traced(*tensors).numpy()
        case "torch":
            import torch

            def run() -> Any:
                with torch.no_grad():
                    return function(*tensors).cpu()

            return run
        case _:
            import jax

            traced = jax.jit(function)
            return lambda: jax.block_until_ready(traced(*tensors))


def compiled_gradient(
    function: Callable[..., Any], *values: Any
) -> Callable[[], Any]:
    """Returns what runs a pass forward and back, and waits for the result.

    The gradients are those of the sum of squares of the result.
    """
    tensors = [ops.convert_to_tensor(value) for value in values]

    def objective(*arguments: Any) -> Any:
        return ops.sum(ops.square(function(*arguments)))

    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            @tf.function
            def traced(*arguments: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(arguments)
                    result = objective(*arguments)
                return tape.gradient(result, arguments)

            return lambda: [grad.numpy() for grad in traced(*tensors)]
        case "torch":
            import torch

            leaves = [value.detach().requires_grad_() for value in tensors]
            return lambda: [
                grad.cpu()
                for grad in torch.autograd.grad(objective(*leaves), leaves)
            ]
        case _:
            import jax

            everywhere = tuple(range(len(tensors)))
            traced = jax.jit(jax.grad(objective, argnums=everywhere))
            return lambda: jax.block_until_ready(traced(*tensors))


def loss_gradients(
    model: keras.Model, loss: Callable[..., Any], inputs: Any, targets: Any
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns outputs in training mode, and the gradients of the loss.

    One gradient for each trainable weight. The statistics of the model may
    change.
    """
    inputs, targets = map(ops.convert_to_tensor, (inputs, targets))
    variables = [variable.value for variable in model.trainable_variables]
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                outputs = model(inputs, training=True)
                objective = loss(targets, outputs)
            found = tape.gradient(objective, variables)
        case "torch":
            import torch

            outputs = model(inputs, training=True)
            found = torch.autograd.grad(loss(targets, outputs), variables)
        case "jax":
            import jax

            state = [v.value for v in model.non_trainable_variables]

            def objective(values: list[Any]) -> tuple[Any, Any]:
                outputs, _ = model.stateless_call(
                    values, state, inputs, training=True
                )
                return loss(targets, outputs), outputs

            found, outputs = jax.jit(jax.grad(objective, has_aux=True))(
                variables
            )
    return ops.convert_to_numpy(outputs), [
        np.array(ops.convert_to_numpy(each)) for each in found
    ]

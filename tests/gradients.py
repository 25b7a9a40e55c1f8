"""Gradients of Keras code, the way each backend takes them."""

import functools

import keras
from keras import ops


def gradient(function, value, upstream):
    """Returns the gradient of `sum(function(value) * upstream)`."""
    value, upstream = map(ops.convert_to_tensor, (value, upstream))

    def objective(x):
        return ops.sum(function(x) * upstream)

    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(value)
                result = objective(value)
            return tape.gradient(result, value)
        case "torch":
            value = value.detach().requires_grad_()
            objective(value).backward()
            return value.grad
        case "jax":
            import jax

            return jax.grad(objective)(value)


def training_step(layer, inputs, upstream):
    """Runs a layer in training mode, and updates its state.

    Returns:
        The outputs, and the gradients of `sum(outputs * upstream)`: that of
        the inputs, and one for each trainable variable.
    """
    inputs, upstream = map(ops.convert_to_tensor, (inputs, upstream))
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = layer(inputs, training=True)
                weighted = outputs * tf.cast(upstream, outputs.dtype)
                objective = tf.reduce_sum(weighted)
            variables = [v.value for v in layer.trainable_variables]
            grad_inputs, *grads = tape.gradient(objective, [inputs, *variables])
        case "torch":
            import torch

            inputs = inputs.detach().requires_grad_()
            outputs = layer(inputs, training=True)
            variables = [v.value for v in layer.trainable_variables]
            grad_inputs, *grads = torch.autograd.grad(
                (outputs * upstream).sum(), [inputs, *variables]
            )
        case "jax":
            (grads, grad_inputs), (outputs, state) = _compiled_gradient(layer)(
                [v.value for v in layer.trainable_variables],
                inputs,
                [v.value for v in layer.non_trainable_variables],
                upstream,
            )
            for variable, value in zip(
                layer.non_trainable_variables, state, strict=True
            ):
                variable.assign(value)
    return outputs, grad_inputs, grads


@functools.cache
def _compiled_gradient(layer):
    # JAX compiles every operation of an eager gradient by itself.
    import jax

    def objective(trainable, inputs, state, upstream):
        outputs, state = layer.stateless_call(
            trainable, state, inputs, training=True
        )
        return (outputs * upstream).sum(), (outputs, state)

    return jax.jit(jax.grad(objective, argnums=(0, 1), has_aux=True))

"""The product of centred rows with themselves."""

import functools
from typing import Any

import keras

from keras_deconv._engine._gradients import is_differentiated
from keras_deconv._engine._precision import full_precision


def gram(columns: Any, mean: Any) -> Any:
    """Returns `(X - mean)^T (X - mean)`, whose gradient is one product.

    With G the gradient of the result, that of X is `(X - mean) (G + G^T)`. Left
    to itself, each factor would take a product of its own with all rows. The
    centred columns sum to zero, so moving the mean changes nothing: its
    gradient is zero, and not worth a pass over all rows. The gradient of the
    gradient does depend on the mean.

    Args:
        columns: X, `(matrices, rows, F)`.
        mean: Of the columns, `(matrices, F)`.

    Returns:
        `(matrices, F, F)`.
    """
    match keras.backend.backend():
        case "torch":
            centred = columns - mean.detach()[:, None]
            return _torch_gram().apply(centred, mean)
        case "jax":
            return _jax_gram()(columns, mean)
        case _:
            return _tensorflow_gram()(columns, mean)


@functools.cache
def _torch_gram() -> Any:
    import torch

    class Gram(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(centred: Any, mean: Any) -> Any:
            return centred.mT.bmm(centred)

        @staticmethod
        def setup_context(context: Any, inputs: Any, output: Any) -> None:
            context.save_for_backward(*inputs)

        @staticmethod
        def backward(context: Any, upstream: Any) -> Any:
            centred, mean = context.saved_tensors
            if is_differentiated():
                # Zeros, by which the result depends on the mean.
                centred = centred + (mean.detach() - mean)[:, None]
            # A pass back that is called with autocast has it too.
            with full_precision():
                return centred.bmm(upstream + upstream.mT), None

    return Gram


@functools.cache
def _jax_gram() -> Any:
    import jax

    @jax.custom_jvp
    def gram(columns: Any, mean: Any) -> Any:
        with full_precision():
            centred = columns - mean[:, None]
            return centred.mT @ centred

    @gram.defjvp
    def derivative(values: Any, changes: Any) -> Any:
        columns, mean = values
        with full_precision():
            transposed = (columns - mean[:, None]).mT
            change = transposed @ changes[0]
        return gram(columns, mean), change + change.mT

    return gram


@functools.cache
def _tensorflow_gram() -> Any:
    import tensorflow as tf

    @tf.custom_gradient
    def gram(columns: Any, mean: Any) -> Any:
        centred = columns - mean[:, None]

        def backward(upstream: Any) -> Any:
            both = upstream + tf.linalg.matrix_transpose(upstream)
            return centred @ both, None

        return tf.linalg.matmul(centred, centred, transpose_a=True), backward

    return gram

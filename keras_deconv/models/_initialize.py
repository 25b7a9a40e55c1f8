"""Initial values as in torch."""

import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers

_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
# Layers that multiply with a kernel; the deconvolved ones are among them, as
# they derive from these.
_KERNEL_LAYERS = (
    *_DEPTHWISE,
    *_SEPARABLE,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.Dense,
)


def initialize_like_torch(model: keras.Model, seed: int | None = None) -> None:
    """Gives kernels and biases new values, drawn as torch does by default.

    All are uniform between `-1 / sqrt(fan_in)` and `1 / sqrt(fan_in)`, where
    `fan_in` is how many products a kernel adds up: `kaiming_uniform_` with
    `a = sqrt(5)` in torch's terms. The results of the paper start from these
    values. Where in torch two layers stand in place of a separable
    convolution, each half has its own bound.

    Convolutions and `Dense` get new values wherever they are in the model,
    deconvolved or not; all other weights stay. Kernels are drawn before
    biases, so that a network and its deconvolved twin, which has more
    biases, get the same kernels from the same seed.

    Args:
        model: A built model. It is changed.
        seed: Seed of the values; a random one by default.

    Raises:
        ValueError: If it is no model, or a layer of it is not built.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"The model must be a `keras.Model`. Received: {model!r}"
        )
    found = list(_kernel_layers(model))
    for layer in found:
        if not layer.built:
            raise ValueError(
                "The model must be built. Received: unbuilt layer "
                f"'{layer.name}' in model '{model.name}'"
            )
    generator = keras.random.SeedGenerator(seed)
    for layer in found:
        for kernel, fan_in in _kernels(layer):
            _draw(kernel, fan_in, generator)
    for layer in found:
        if layer.use_bias:
            # The bias belongs to the last kernel.
            _, fan_in = _kernels(layer)[-1]
            _draw(layer.bias, fan_in, generator)


def _kernel_layers(model: Any) -> Iterator[Any]:
    """Yields every layer inside a model that has a kernel, once."""
    for layer in model._flatten_layers():
        if isinstance(layer, _KERNEL_LAYERS):
            yield layer


def _kernels(layer: Any) -> list[tuple[Any, int]]:
    """Returns the kernels of a layer, each with its `fan_in`."""
    if isinstance(layer, _SEPARABLE):
        depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
        return [
            (depthwise, math.prod(depthwise.shape[:-2])),
            (pointwise, math.prod(pointwise.shape[:-1])),
        ]
    shape = layer.kernel.shape
    if isinstance(layer, _DEPTHWISE):
        return [(layer.kernel, math.prod(shape[:-2]))]
    # Channels are those of one group. A transposed convolution has its
    # filters in their place, which is what torch counts as well.
    return [(layer.kernel, math.prod(shape[:-1]))]


def _draw(weight: Any, fan_in: int, generator: Any) -> None:
    bound = 1 / math.sqrt(fan_in)
    weight.assign(
        keras.random.uniform(
            weight.shape, -bound, bound, dtype=weight.dtype, seed=generator
        )
    )

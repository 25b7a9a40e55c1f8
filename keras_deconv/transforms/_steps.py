"""Steps of a conversion: a layer in, the layer that takes its place out.

A step is a name and its arguments, both plain data, so that a converted
model can say in its file what was done to it.
"""

from collections.abc import Callable
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from keras_deconv.layers import ChannelAffine
from keras_deconv.layers import DeconvConv1D
from keras_deconv.layers import DeconvConv1DTranspose
from keras_deconv.layers import DeconvConv2D
from keras_deconv.layers import DeconvConv2DTranspose
from keras_deconv.layers import DeconvConv3D
from keras_deconv.layers import DeconvConv3DTranspose
from keras_deconv.layers import DeconvDense
from keras_deconv.layers import DeconvDepthwiseConv1D
from keras_deconv.layers import DeconvDepthwiseConv2D
from keras_deconv.layers import DeconvSeparableConv1D
from keras_deconv.layers import DeconvSeparableConv2D
from keras_deconv.layers import RemovedNormalization
from keras_deconv.layers import Whitening
from keras_deconv.layers import make_twin

_PACKAGE = __name__.partition(".")[0]
# Methods by which a subclass may compute something else.
_COMPUTES = ("__call__", "call", "convolution_op")

TWINS: Mapping[type[Any], type[Any]] = MappingProxyType(
    {
        twin.plain_class: twin
        for twin in (
            DeconvConv1D,
            DeconvConv1DTranspose,
            DeconvConv2D,
            DeconvConv2DTranspose,
            DeconvConv3D,
            DeconvConv3DTranspose,
            DeconvDense,
            DeconvDepthwiseConv1D,
            DeconvDepthwiseConv2D,
            DeconvSeparableConv1D,
            DeconvSeparableConv2D,
        )
    }
)


def deconvolve(layer: Any, use_bias: bool, settings: dict[str, Any]) -> Any:
    """Returns the deconvolved twin with the same weights."""
    twin = make_twin(layer, TWINS[type(layer)], use_bias=use_bias, **settings)
    _copy_weights(layer, twin)
    return twin


def add_bias(layer: Any) -> Any:
    """Returns the same layer with a bias."""
    settings = {}
    if isinstance(layer, Whitening):
        names = layer.setting_names()
        settings = {name: getattr(layer, name) for name in names}
    twin = make_twin(layer, type(layer), use_bias=True, **settings)
    _copy_weights(layer, twin)
    return twin


def drop_bias(layer: Any) -> Any:
    """Returns the same layer without its bias."""
    twin = make_twin(layer, type(layer), use_bias=False)
    _copy_weights(layer, twin)
    return twin


def remove(layer: Any, took_bias: bool) -> Any:
    """Returns what stands where a batch normalization was removed."""
    return _placeholder(layer, RemovedNormalization, took_bias=took_bias)


def freeze(layer: Any) -> Any:
    """Returns a place for what a batch normalization computes."""
    return _placeholder(layer, ChannelAffine)


def can_fold(layer: Any) -> bool:
    """Returns whether what a built whitening layer predicts is known.

    A subclass that computes in a way of its own must fold so, too.
    """
    for cls in type(layer).__mro__:
        if cls.__module__.partition(".")[0] == _PACKAGE or "fold" in vars(cls):
            return True
        if not vars(cls).keys().isdisjoint(_COMPUTES):
            return False
    return False


def fold(layer: Any) -> Any:
    """Returns the layer of Keras that predicts what `layer` predicts."""
    plain = layer.fold()
    _copy_flags(layer, plain)
    return plain


def restore(layer: Any) -> Any:
    """Returns the batch normalization that a placeholder stands for."""
    return layer.restore()


STEPS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        step.__name__: step
        for step in (
            deconvolve,
            add_bias,
            drop_bias,
            remove,
            freeze,
            fold,
            restore,
        )
    }
)


def _placeholder(layer: Any, cls: type[Any], **arguments: Any) -> Any:
    config = keras.saving.serialize_keras_object(layer)["config"]
    placeholder = cls(
        original=config,
        name=layer.name,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
        **arguments,
    )
    placeholder.build(layer.get_build_config()["input_shape"])
    return placeholder


def _copy_weights(layer: Any, twin: Any) -> None:
    """Copies the weights that both have, by name."""
    values = {weight.name: weight for weight in layer.weights}
    for weight in twin.weights:
        if weight.name in values:
            # JAX would give both the same buffer, which training deletes.
            weight.assign(ops.copy(values[weight.name]))
    _copy_flags(layer, twin)


def _copy_flags(layer: Any, twin: Any) -> None:
    """Leaves what is not trainable by itself so, by name."""
    flags = {weight.name: weight.trainable for weight in layer.weights}
    for weight in twin.weights:
        weight.trainable = weight.trainable and flags.get(weight.name, True)

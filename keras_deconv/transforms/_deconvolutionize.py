"""Convolutions with batch normalization to deconvolutions without."""

from typing import Any

import keras

from keras_deconv.layers import PRESETS
from keras_deconv.layers import DeconvConv1D
from keras_deconv.layers import DeconvConv2D
from keras_deconv.layers import DeconvConv2DTranspose
from keras_deconv.layers import DeconvConv3D
from keras_deconv.layers import DeconvDense
from keras_deconv.layers import DeconvDepthwiseConv1D
from keras_deconv.layers import DeconvDepthwiseConv2D
from keras_deconv.layers import DeconvSeparableConv1D
from keras_deconv.layers import DeconvSeparableConv2D
from keras_deconv.layers import Whitening
from keras_deconv.layers import make_twin
from keras_deconv.transforms import _graph
from keras_deconv.transforms._rewrite import rewrite

_BATCH_NORM = keras.layers.BatchNormalization
_TWINS: dict[type[Any], type[Any]] = {
    twin.plain_class: twin
    for twin in (
        DeconvConv1D,
        DeconvConv2D,
        DeconvConv2DTranspose,
        DeconvConv3D,
        DeconvDense,
        DeconvDepthwiseConv1D,
        DeconvDepthwiseConv2D,
        DeconvSeparableConv1D,
        DeconvSeparableConv2D,
    )
}
_TARGETS = (*_TWINS, _BATCH_NORM)


def deconvolutionize(
    model: Any, *, preset: str | None = None, **settings: Any
) -> Any:
    """Returns the deconvolved twin of a model.

    Every convolution (depthwise, separable and transposed ones too) and
    every `Dense` becomes its deconvolution layer with the same name and the
    same weights, and every `BatchNormalization` is removed (network
    deconvolution, section 4). A convolution that fed a `BatchNormalization`
    gets a bias in return. All other layers are copied.
    `model` itself is left as it is; the twin shares no weights with it and
    is not compiled.

    The twin predicts something else than `model`: the kernels now act on
    whitened inputs, so it has to be trained.

    Args:
        model: A built Sequential or Functional model, nested at will.
        preset: Name of settings in `keras_deconv.PRESETS`. Without one, each
            layer keeps the defaults of its class.
        **settings: Settings of the layers, by name: `block_size`,
            `sampling_stride`, `num_iterations`, ...; see `DeconvConv2D`.
            Each layer takes those that it has. They go before the preset.

    Raises:
        ValueError: If `model` is not built, is neither Sequential nor
            Functional, holds a convolution inside a layer that cannot be
            entered, or the preset is unknown, or a setting is out of range.
        TypeError: If no layer has such a setting.

    Example:
        >>> twin = deconvolutionize(keras.applications.ResNet50(weights=None))
    """
    if preset is not None:
        if preset not in PRESETS:
            raise ValueError(
                f"`preset` must be one of {tuple(PRESETS)}. "
                f"Received: preset={preset!r}"
            )
        settings = {**PRESETS[preset], **settings}
    known = set().union(*(cls.setting_names() for cls in _TWINS.values()))
    if unknown := sorted(settings.keys() - known):
        raise TypeError(
            f"Settings must be among {sorted(known)}. Received: {unknown}"
        )

    normalized = set(map(id, _graph.feeding(model, _BATCH_NORM)))

    def replace(layer: Any) -> Any:
        if isinstance(layer, _BATCH_NORM):
            return None
        cls = _TWINS.get(type(layer), type(layer))
        use_bias = getattr(layer, "use_bias", None)
        if use_bias is False and id(layer) in normalized:
            use_bias = True
        elif cls is type(layer):
            return layer
        twin = make_twin(
            layer, cls, use_bias=use_bias, **_taken_by(cls, settings)
        )
        _copy_weights(layer, twin)
        return twin

    return rewrite(model, replace, _TARGETS)


def _taken_by(cls: Any, settings: dict[str, Any]) -> dict[str, Any]:
    if not issubclass(cls, Whitening):
        return {}
    names = cls.setting_names()
    return {name: settings[name] for name in settings if name in names}


def _copy_weights(layer: Any, twin: Any) -> None:
    """Copies the weights that both have, by name."""
    values = {weight.name: weight for weight in layer.weights}
    for weight in twin.weights:
        if weight.name in values:
            weight.assign(values[weight.name])

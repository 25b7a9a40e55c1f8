"""Networks for images by name: ours, and those of the Keras libraries."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from keras_deconv import models

OURS = "imagenet_"
APPLICATIONS = "applications"
LIBRARIES = ("keras_cv", "keras_hub")
HELP = (
    "one of keras_deconv.models (imagenet_resnet50); applications:NAME of "
    "keras.applications (applications:MobileNetV2); keras_cv:NAME or "
    "keras_hub:NAME, a preset (keras_hub:resnet_50_imagenet, of which only "
    "the configuration is loaded) or a backbone's class (keras_hub:"
    "ResNetBackbone), which needs --network-arguments"
)


def build(
    name: str,
    num_classes: int,
    input_shape: tuple[int, int, int],
    arguments: Mapping[str, Any],
    seed: int,
) -> keras.Model:
    """Returns a network with batch normalization; its outputs are logits.

    Args:
        name: As `HELP` says.
        num_classes: Number of logits.
        input_shape: (H, W, C).
        arguments: More arguments of the constructor.
        seed: Of the initial weights. Ours are drawn as PyTorch draws them,
            others as Keras has drawn them.

    Raises:
        ValueError: The name is unknown.
    """
    check(name)
    kind, _, what = name.rpartition(":")
    if not kind:
        model = getattr(models, name)(
            num_classes=num_classes, input_shape=input_shape, **arguments
        )
        models.initialize_like_torch(model, seed)
        return model
    if kind == APPLICATIONS:
        constructor = getattr(keras.applications, what)
        if "include_preprocessing" in inspect.signature(constructor).parameters:
            # Images are standardised already.
            arguments = {"include_preprocessing": False, **arguments}
        model = constructor(
            weights=None,
            input_shape=input_shape,
            classes=num_classes,
            classifier_activation=None,
            **arguments,
        )
        _leave_scale(model)
        return model
    backbone = _backbone(kind, what, input_shape, arguments)
    _leave_scale(backbone)
    x = layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, layers.Dense(num_classes)(x))


def check(name: str) -> None:
    """Raises ValueError unless there may be a network of that name."""
    kind, _, what = name.rpartition(":")
    if (
        kind in LIBRARIES
        or (
            kind == APPLICATIONS
            and inspect.isfunction(getattr(keras.applications, what, None))
        )
        or (not kind and name.startswith(OURS) and hasattr(models, name))
    ):
        return
    raise ValueError(f"A network must be {HELP}. Received: {name!r}")


def _backbone(
    library: str,
    name: str,
    input_shape: tuple[int, int, int],
    arguments: Mapping[str, Any],
) -> keras.Model:
    """Returns a backbone of keras-cv or keras-hub, with random weights."""
    known = importlib.import_module(library).models
    shape = "input_shape" if library == "keras_cv" else "image_shape"
    arguments = {shape: input_shape, **arguments}
    if isinstance(getattr(known, name, None), type):
        return getattr(known, name)(**arguments)
    # The base class of KerasCV knows no presets of others.
    kinds = [known.Backbone, *vars(known).values()]
    cls = next(
        (each for each in kinds if name in getattr(each, "presets", ())),
        known.Backbone,
    )
    return cls.from_preset(name, load_weights=False, **arguments)


def _leave_scale(model: keras.Model) -> None:
    """Makes of layers that would scale pixels what standardised images take."""
    for layer in model.layers:
        if isinstance(layer, layers.Rescaling):
            layer.scale, layer.offset = 1.0, 0.0

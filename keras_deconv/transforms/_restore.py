"""Deconvolved models back to convolutions with batch normalization."""

from typing import Any

import keras
from keras import ops

from keras_deconv._warnings import warn
from keras_deconv.layers import Placeholder
from keras_deconv.layers import RemovedNormalization
from keras_deconv.layers import Whitening
from keras_deconv.transforms._batch_norm import can_take
from keras_deconv.transforms._batch_norm import producers
from keras_deconv.transforms._batch_norm import sources
from keras_deconv.transforms._converted import Step
from keras_deconv.transforms._converted import take_steps
from keras_deconv.transforms._converted import unmark
from keras_deconv.transforms._copy import copy_model
from keras_deconv.transforms._copy import objects_of
from keras_deconv.transforms._fold import foldable_places
from keras_deconv.transforms._functions import distinct_functions
from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import check_model
from keras_deconv.transforms._structure import layer_at
from keras_deconv.transforms._structure import places
from keras_deconv.transforms._trace import predict_alike
from keras_deconv.transforms._trace import trace


def restore(model: Any, *, example: Any = None) -> Any:
    """Returns the convolution network that a deconvolved model was made from.

    Undoes `deconvolutionize`: every deconvolution layer is folded into a
    plain one, and every `BatchNormalization` is back, with its settings and
    as the identity, so that the model predicts what `model` predicts. A
    convolution that got its bias for a lost `BatchNormalization` gives it
    back to that; others keep the bias that folding makes. Containers that
    have their original structure again forget the conversion. `model` is
    left as it is.

    Args:
        model: A built deconvolved model.
        example: As in `deconvolutionize`.

    Warns:
        UserWarning: If there is nothing to restore, as in a folded model, or
            a layer is left as it is.

    Raises:
        ValueError: If `model` is not built, cannot be rebuilt from its
            configuration, or cannot be called on zeros.
    """
    check_model(model)
    folding = foldable_places(model)
    record = trace(model, example)
    found = list(places(model))
    if not any(isinstance(p.layer, Placeholder | Whitening) for p in found):
        warn(
            f"Model '{model.name}' has nothing to restore, and is copied. What "
            "has been folded has no trace of its batch normalization: restore "
            "the model that was folded"
        )
    feeding = producers(sources(record, model, found, RemovedNormalization))
    for trusting in (True, False):
        givers = [
            (feeding[id(place.layer)], place.layer)
            for place in found
            if id(place.layer) in feeding
            and place.layer.took_bias
            and can_take(
                feeding[id(place.layer)],
                place.layer,
                record,
                model,
                trusting,
            )
        ]
        restored = _restore(model, folding, givers)
        if not givers or predict_alike(model, restored, example):
            break
    with distinct_functions(restored) as functions:
        objects = objects_of(restored) | functions
        with keras.saving.custom_object_scope(objects):
            unmark(restored)
    return restored


def _restore(
    model: Any, folding: list[Place], givers: list[tuple[Any, Any]]
) -> Any:
    """Restores layers, and moves biases into the norms that follow."""
    copy = copy_model(model)
    steps: list[Step] = [(place.address, "fold", {}) for place in folding]
    for place in places(model):
        if isinstance(place.layer, Placeholder):
            steps.append((place.address, "restore", {}))
    take_steps(copy, steps)
    addresses = {id(place.layer): place.address for place in places(model)}
    steps = []
    for layer, norm in givers:
        giver = layer_at(copy, addresses[id(layer)])
        if isinstance(giver, keras.Sequential | Whitening):
            # What a transposed convolution folds to, or does not fold: it
            # keeps its bias.
            continue
        taker = layer_at(copy, addresses[id(norm)])
        bias = ops.convert_to_tensor(giver.bias)
        if taker.center:
            taker.beta.assign(bias)
        else:
            taker.moving_mean.assign(-bias)
        steps.append((addresses[id(layer)], "drop_bias", {}))
    take_steps(copy, steps)
    return copy

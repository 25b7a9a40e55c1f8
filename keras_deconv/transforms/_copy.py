"""A copy of a model that shares nothing with it."""

import contextlib
import itertools
import os
import tempfile
import types
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_deconv.transforms._converted import Converted
from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import describe
from keras_deconv.transforms._structure import own_weights
from keras_deconv.transforms._structure import places
from keras_deconv.transforms._structure import rebuild


def copy_model(model: Any) -> Any:
    """Returns a copy of a model with weights of its own, not compiled.

    The copy is built from the configuration of the model, so its type, and
    that of every layer, stays; so do names, trainable flags and sharing.
    Classes and functions come from this process, registered or not.

    Raises:
        ValueError: If the configuration does not build the model again.
    """
    try:
        copy = _rebuild(model)
    except Exception as error:
        raise ValueError(
            "The model must be rebuilt by `from_config(get_config())` to be "
            f"copied. Received: model '{model.name}' of class "
            f"'{type(model).__name__}', which fails with "
            f"{type(error).__name__}: {error}"
        ) from error
    _check_alike(model, copy)
    olds, news = (
        [Place((), "", each), *places(each)] for each in (model, copy)
    )
    for old, new in zip(olds, news, strict=True):
        _copy_state(old.layer, new.layer)
    # A container sets the flag of all its layers, so those come last.
    for old, new in zip(olds, news, strict=True):
        if new.layer.trainable != old.layer.trainable:
            new.layer.trainable = old.layer.trainable
    return copy


def _rebuild(model: Any) -> Any:
    with _named_functions(model) as functions:
        objects = objects_of(model) | functions
        with keras.saving.custom_object_scope(objects):
            config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    with keras.saving.custom_object_scope(objects):
        # The code in a Lambda comes from this process, not from a file.
        return rebuild(config, safe_mode=False)


@contextlib.contextmanager
def _named_functions(model: Any) -> Iterator[dict[str, Any]]:
    """Gives the anonymous functions of Lambda layers names for a while.

    Keras stores one as code without the module that it refers to.
    """
    anonymous = [
        (place.layer, place.layer.function)
        for place in places(model)
        if isinstance(place.layer, keras.layers.Lambda)
        and getattr(place.layer.function, "__name__", "") == "<lambda>"
    ]
    functions = {}
    for index, (layer, function) in enumerate(anonymous):
        named = types.FunctionType(
            function.__code__,
            function.__globals__,
            f"lambda_{index}_of_{model.name}",
            function.__defaults__,
            function.__closure__,
        )
        named.__kwdefaults__ = function.__kwdefaults__
        layer.function = functions[named.__name__] = named
    try:
        yield functions
    finally:
        for layer, function in anonymous:
            layer.function = function


def objects_of(model: Any) -> dict[str, Any]:
    """Returns the classes and functions that a configuration may name.

    Keras finds its own by module: two of them may have the same name, as the
    layer `Add` and the operation.
    """
    kinds = []
    for place in (Place((), "", model), *places(model)):
        kinds.append(type(place.layer))
        if isinstance(place.layer, Converted):
            kinds += place.layer.plain_objects().values()
        for value in vars(place.layer).values():
            if callable(value) and hasattr(value, "__name__"):
                kinds.append(value)
            elif hasattr(value, "get_config"):
                kinds.append(type(value))
    return {
        keras.saving.get_registered_name(kind): kind
        for kind in kinds
        if (kind.__module__ or "").partition(".")[0] != "keras"
    }


def _check_alike(model: Any, copy: Any) -> None:
    """Raises ValueError unless the copy has the same layers and weights."""
    olds, news = describe(model), describe(copy)
    if olds != news:
        differing = [
            old for old, new in itertools.zip_longest(olds, news) if old != new
        ]
        raise ValueError(
            "A layer must be rebuilt whole by `from_config(get_config())` to "
            f"be copied. Received: model '{model.name}' of class "
            f"'{type(model).__name__}', with {len(olds) - 1} layers inside "
            f"and {len(news) - 1} after that; the first that differs: "
            f"{differing[0]}"
        )


def _copy_state(old: Any, new: Any) -> None:
    new.name = old.name
    if new.dtype_policy != old.dtype_policy:
        new.dtype_policy = old.dtype_policy
    for source, target in zip(own_weights(old), own_weights(new), strict=True):
        # JAX would give both the same buffer, which training deletes.
        target.assign(ops.copy(source))
        target.trainable = source.trainable
    if isinstance(old, keras.layers.Lambda):
        new.function = old.function
    if not isinstance(old, keras.Model) and old.built:
        _copy_stored(old, new)


def _copy_stored(old: Any, new: Any) -> None:
    """Copies what a layer stores beside weights: statistics, vocabularies."""
    store: dict[str, Any] = {}
    old.save_own_variables(store)
    if store:
        new.load_own_variables(
            {
                name: ops.copy(value)
                if isinstance(value, keras.Variable)
                else value
                for name, value in store.items()
            }
        )
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            if os.listdir(folder):
                new.load_assets(folder)

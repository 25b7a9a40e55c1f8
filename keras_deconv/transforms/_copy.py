"""A copy of a model that shares nothing with it."""

import contextlib
import itertools
import os
import tempfile
import types
from collections import Counter
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
        ValueError: If the configuration does not build the model again, or
            two classes have one name.
    """
    objects = objects_of(model)
    try:
        copy, found = _rebuild(model, objects)
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
        _copy_functions(old.layer, new.layer, found)
        _copy_state(old.layer, new.layer)
    # A container sets the flag of all its layers, so those come last.
    for old, new in zip(olds, news, strict=True):
        if new.layer.trainable != old.layer.trainable:
            new.layer.trainable = old.layer.trainable
    return copy


def _rebuild(model: Any, objects: dict[str, Any]) -> tuple[Any, set[int]]:
    """Returns a copy, and the identities of what it found by name."""
    with _distinct_functions(model):
        # A converted container knows functions by the names they had.
        objects = objects | objects_of(model)
        with keras.saving.custom_object_scope(objects):
            config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    with keras.saving.custom_object_scope(objects):
        # The code in a Lambda comes from this process, not from a file.
        copy = rebuild(config, safe_mode=False)
    return copy, {id(each) for each in objects.values()}


@contextlib.contextmanager
def _distinct_functions(model: Any) -> Iterator[None]:
    """Gives functions that layers hold names of their own for a while.

    Keras stores an anonymous one as code without the module that it refers
    to, and finds all others by their name, which several may have.
    """
    held = [
        (vars(place.layer), name, function)
        for place in (Place((), "", model), *places(model))
        for name, function in _functions_of(place.layer).items()
    ]
    distinct = {id(function): function for _, _, function in held}
    uses = Counter(function.__name__ for function in distinct.values())
    renamed = {
        key: _renamed(function, f"function_{index}_of_{model.name}")
        for index, (key, function) in enumerate(distinct.items())
        if function.__name__ == "<lambda>" or uses[function.__name__] > 1
    }
    try:
        for attributes, name, function in held:
            attributes[name] = renamed.get(id(function), function)
        yield
    finally:
        for attributes, name, function in held:
            attributes[name] = function


def _functions_of(layer: Any) -> dict[str, Any]:
    """Returns the functions in attributes of a layer, Keras's left out."""
    return {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, types.FunctionType) and not _is_of_keras(value)
    }


def _renamed(function: Any, name: str) -> Any:
    twin = types.FunctionType(
        function.__code__,
        function.__globals__,
        name,
        function.__defaults__,
        function.__closure__,
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__module__ = function.__module__
    return twin


def objects_of(model: Any) -> dict[str, Any]:
    """Returns the classes and functions that a configuration may name.

    Keras finds its own by module: two of them may have the same name, as the
    layer `Add` and the operation.

    Raises:
        ValueError: If two classes have one name.
    """
    objects: dict[str, Any] = {}
    for place in (Place((), "", model), *places(model)):
        _add_class(type(place.layer), objects)
        if isinstance(place.layer, Converted):
            for plain in place.layer.plain_objects().values():
                _add_class(plain, objects)
        for value in vars(place.layer).values():
            if callable(value) and hasattr(value, "__name__"):
                if not _is_of_keras(value):
                    objects[keras.saving.get_registered_name(value)] = value
            elif hasattr(value, "get_config"):
                _add_class(type(value), objects)
    return objects


def _add_class(cls: Any, objects: dict[str, Any]) -> None:
    if _is_of_keras(cls):
        return
    name = keras.saving.get_registered_name(cls)
    other = objects.setdefault(name, cls)
    # All converted containers share a name.
    if other is not cls and not issubclass(cls, Converted):
        raise ValueError(
            "Classes in a model must have names of their own: give them a "
            "package by `keras.saving.register_keras_serializable"
            "(package=...)`. Received two of the name "
            f"'{name}': {other.__module__}.{other.__qualname__} and "
            f"{cls.__module__}.{cls.__qualname__}"
        )


def _is_of_keras(kind: Any) -> bool:
    return (kind.__module__ or "").partition(".")[0] == "keras"


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


def _copy_functions(old: Any, new: Any, found: set[int]) -> None:
    """Puts the functions of a layer in the place of those found by name."""
    attributes = vars(new)
    for name, function in _functions_of(old).items():
        if id(attributes.get(name)) in found:
            attributes[name] = function


def _copy_state(old: Any, new: Any) -> None:
    new.name = old.name
    if new.dtype_policy != old.dtype_policy:
        new.dtype_policy = old.dtype_policy
    for source, target in zip(own_weights(old), own_weights(new), strict=True):
        # JAX would give both the same buffer, which training deletes.
        target.assign(ops.copy(source))
        target.trainable = source.trainable
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

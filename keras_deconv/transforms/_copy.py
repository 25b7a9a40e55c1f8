"""A copy of a model that shares nothing with it."""

import itertools
import os
import tempfile
from typing import Any

import keras
from keras import ops

from keras_deconv.transforms._converted import Converted
from keras_deconv.transforms._functions import distinct_functions
from keras_deconv.transforms._functions import functions_in
from keras_deconv.transforms._functions import is_of_keras
from keras_deconv.transforms._structure import Address
from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import describe
from keras_deconv.transforms._structure import kind_of
from keras_deconv.transforms._structure import layer_at
from keras_deconv.transforms._structure import list_parameters
from keras_deconv.transforms._structure import own_weights
from keras_deconv.transforms._structure import places
from keras_deconv.transforms._structure import rebuild
from keras_deconv.transforms._structure import serialize


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
    pairs = [
        (layer_at(model, place.address), place.layer)
        for place in (Place((), "", copy), *places(copy))
    ]
    for old, new in pairs:
        _copy_functions(old, new, found)
        _copy_state(old, new)
    # A container sets the flag of all its layers, so those come last.
    for old, new in pairs:
        if new.trainable != old.trainable:
            new.trainable = old.trainable
    list_parameters(copy)
    return copy


def _rebuild(model: Any, objects: dict[str, Any]) -> tuple[Any, set[int]]:
    """Returns a copy, and the identities of what it found by name."""
    with distinct_functions(model) as functions:
        objects = objects | functions
        with keras.saving.custom_object_scope(objects):
            config = serialize(model)
            # The code in a Lambda comes from this process, not from a file.
            copy = rebuild(config, safe_mode=False)
    return copy, {id(each) for each in objects.values()}


def objects_of(model: Any) -> dict[str, Any]:
    """Returns the classes and functions that a configuration may name.

    Keras finds its own by module: two of them may have the same name, as the
    layer `Add` and the operation.

    Raises:
        ValueError: If two classes have one name.
    """
    objects: dict[str, Any] = {}
    found = [model, *(place.layer for place in places(model))]
    for layer in found:
        _add_class(type(layer), objects)
        if isinstance(layer, Converted):
            for plain in layer.plain_objects().values():
                _add_class(plain, objects)
        for value in vars(layer).values():
            if hasattr(value, "get_config") and not isinstance(value, type):
                _add_class(type(value), objects)
    callables = [
        value
        for layer in found
        for value in vars(layer).values()
        if callable(value) and hasattr(value, "__name__")
    ]
    for value in (*callables, *functions_in(model)):
        if not is_of_keras(value):
            name = keras.saving.get_registered_name(value)
            objects.setdefault(name, value)
    return objects


def _add_class(cls: Any, objects: dict[str, Any]) -> None:
    if is_of_keras(cls):
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


def _check_alike(model: Any, copy: Any) -> None:
    """Raises ValueError unless the copy has the same layers and weights.

    A layer without weights may have become several: Keras rebuilds one that
    two others have, such as an activation, for each of these.
    """
    olds, news = describe(model), describe(copy)
    known = {address for address, _, _ in olds}
    news = [
        new for new in news if new[0] in known or not _is_shared(model, *new)
    ]
    if olds != news:
        old, new = next(
            pair
            for pair in itertools.zip_longest(olds, news)
            if pair[0] != pair[1]
        )
        raise ValueError(
            "A layer must be rebuilt whole by `from_config(get_config())` to "
            f"be copied. Received: model '{model.name}' of class "
            f"'{type(model).__name__}', with {len(olds) - 1} layers inside "
            f"and {len(news) - 1} after that; the first that differs: "
            f"{old or 'no layer'}, rebuilt as {new or 'no layer'}. A layer "
            "with weights that a model shares with a model inside it is "
            "rebuilt twice"
        )


def _is_shared(
    model: Any, address: Address, kind: str, shapes: list[Any]
) -> bool:
    """Returns whether a layer without weights is at several addresses."""
    try:
        layer = layer_at(model, address)
    except IndexError:
        return False
    return not layer.weights and not shapes and kind == kind_of(layer)


def _copy_functions(old: Any, new: Any, found: set[int]) -> None:
    """Puts the functions of a layer in the place of those found by name.

    There may be several of one name in a converted container, and Keras has
    its own of some names.
    """
    attributes = vars(new)
    for name, value in vars(old).items():
        if not callable(value) or isinstance(value, keras.layers.Layer):
            continue
        other = attributes.get(name)
        is_by_name = id(other) in found or (
            is_of_keras(other) and not is_of_keras(value)
        )
        if is_by_name and hasattr(value, "__name__"):
            attributes[name] = value


def _copy_state(old: Any, new: Any) -> None:
    new.name = old.name
    if new.dtype_policy != old.dtype_policy:
        new.dtype_policy = old.dtype_policy
    for source, target in zip(own_weights(old), own_weights(new), strict=True):
        # JAX would give both the same buffer, which training deletes.
        target.assign(ops.copy(source))
        target.trainable = source.trainable
    generators = zip(old._seed_generators, new._seed_generators, strict=False)
    for source, target in generators:
        target.state.assign(ops.copy(source.state))
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

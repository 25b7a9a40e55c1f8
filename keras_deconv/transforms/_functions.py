"""Functions that layers hold, and their names in configurations."""

import contextlib
import types
from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras

from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import places


@contextlib.contextmanager
def distinct_functions(model: Any) -> Iterator[dict[str, Any]]:
    """Gives functions that layers hold names of their own for a while.

    Keras stores an anonymous one as code without the module that it refers
    to, and finds all others by their name, which several may have.

    Yields:
        The functions that have another name meanwhile, by that.
    """
    functions = {id(each): each for each in functions_in(model)}
    uses = Counter(each.__name__ for each in functions.values())
    renamed = {
        f"function_{index}_of_{model.name}": function
        for index, function in enumerate(functions.values())
        if function.__name__ == "<lambda>" or uses[function.__name__] > 1
    }
    names = [function.__name__ for function in renamed.values()]
    try:
        for name, function in renamed.items():
            function.__name__ = name
        yield renamed
    finally:
        for name, function in zip(names, renamed.values(), strict=True):
            function.__name__ = name


def functions_in(model: Any) -> Iterator[Any]:
    """Yields the functions in attributes of all layers, Keras's left out."""
    for place in (Place((), "", model), *places(model)):
        for value in vars(place.layer).values():
            for each in _flat(value):
                is_function = isinstance(each, types.FunctionType)
                if is_function and not is_of_keras(each):
                    yield each


def with_functions(config: Any, functions: Mapping[str, Any]) -> Any:
    """Returns a configuration with functions as Keras stores them now.

    Args:
        config: Serialized while `functions` had other names.
        functions: Those, by these names.
    """
    if isinstance(config, dict):
        function = functions.get(config.get("registered_name") or "")
        if function is not None:
            return keras.saving.serialize_keras_object(function)
        return {
            key: with_functions(value, functions)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(with_functions(each, functions) for each in config)
    return config


def is_of_keras(kind: Any) -> bool:
    """Returns whether a class or a function is one of Keras's own."""
    module = getattr(kind, "__module__", None) or ""
    return module.partition(".")[0] == "keras"


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        for each in value:
            yield from _flat(each)
    else:
        yield value

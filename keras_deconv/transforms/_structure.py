"""Where layers are: the addresses that every transform uses."""

import copy
import warnings
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

# Indices into the layers of a layer, from the model down. Names may repeat.
Address = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """A layer and where it is.

    Attributes:
        address: The way to it by index; stays the same in a copy, and when
            a layer on the way is replaced.
        path: The way to it by name, such as `"backbone/block_1/conv"`; the
            model's own name is left out.
        layer: The layer.
        parent: The place of the layer that it is in, or None in the model.
    """

    address: Address
    path: str
    layer: Any
    parent: "Place | None" = None

    @property
    def way(self) -> "Iterator[Place]":
        """Yields this place, and those that it is in, the model left out."""
        place: Place | None = self
        while place is not None:
            yield place
            place = place.parent


def places(model: Any) -> Iterator[Place]:
    """Yields every layer inside a model once, at its first address."""
    seen = {id(model)}
    root = Place((), "", model)
    stack = [root]
    while stack:
        parent = stack.pop()
        below = []
        for index, child in enumerate(children(parent.layer)):
            if id(child) not in seen:
                seen.add(id(child))
                below.append(
                    Place(
                        (*parent.address, index),
                        f"{parent.path}/{child.name}".removeprefix("/"),
                        child,
                        None if parent is root else parent,
                    )
                )
        yield from below
        stack += reversed(below)


def children(layer: Any) -> list[Any]:
    """Returns the layers directly inside a layer, in order of creation."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def layer_at(model: Any, address: Address) -> Any:
    """Returns the layer at an address."""
    layer = model
    for index in address:
        layer = children(layer)[index]
    return layer


def describe(model: Any) -> list[tuple[Address, str, list[tuple[int, ...]]]]:
    """Returns address, class and shapes of weights of every layer."""
    return [
        (
            place.address,
            kind_of(place.layer),
            [tuple(weight.shape) for weight in own_weights(place.layer)],
        )
        for place in (Place((), "", model), *places(model))
    ]


def kind_of(layer: Any) -> str:
    """Returns the full name of a layer's class."""
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def own_weights(layer: Any) -> list[Any]:
    """Returns the weights of a layer without those of layers inside."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def tied_weights(model: Any) -> set[int]:
    """Returns the identities of weights that more than one layer has."""
    owners = Counter(
        identity
        for layer in (model, *(place.layer for place in places(model)))
        for identity in {id(weight) for weight in own_weights(layer)}
    )
    return {identity for identity, count in owners.items() if count > 1}


def is_tied(layer: Any, tied: set[int]) -> bool:
    """Returns whether a layer has one of the `tied_weights` of a model."""
    return any(id(weight) in tied for weight in own_weights(layer))


def list_parameters(model: Any) -> None:
    """Makes PyTorch's lists of parameters anew, of all layers.

    Keras makes one when it is asked for parameters, but `state_dict` and the
    ONNX exporter do not ask.
    """
    inside = (place.layer for place in places(model))
    for layer in (model, *inside, *graphs_in(model)):
        if hasattr(type(layer), "torch_params"):
            layer._track_variables()


def build_configs(model: Any) -> list[tuple[Address, dict[str, Any]]]:
    """Returns what every built layer inside of a model is built from."""
    return [
        (place.address, config)
        for place in places(model)
        if place.layer.built and (config := place.layer.get_build_config())
    ]


def serialize(layer: Any) -> dict[str, Any]:
    """Returns the configuration of a layer, as if no model were compiled.

    What a model was compiled with need not have a configuration, nor be
    known where that is used.
    """
    models = [
        each
        for each in (layer, *(place.layer for place in places(layer)))
        if isinstance(each, keras.Model)
    ]
    were_compiled = [model.compiled for model in models]
    try:
        for model in models:
            model.compiled = False
        config: dict[str, Any] = keras.saving.serialize_keras_object(layer)
        return config
    finally:
        for model, was_compiled in zip(models, were_compiled, strict=True):
            model.compiled = was_compiled


def rebuild(
    config: dict[str, Any],
    inside: Iterable[tuple[Sequence[int], dict[str, Any]]] = (),
    **options: Any,
) -> Any:
    """Returns the object of a serialized configuration, built throughout.

    A layer without a `build` of its own builds those inside when it is first
    called. Keras warns of it, and leaves them unbuilt.

    Args:
        config: The configuration.
        inside: `build_configs` of the original. Without it, layers are called
            that have one input: of several, Keras keeps but the first shape.
        **options: Of `keras.saving.deserialize_keras_object`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`build\(\)` was called on layer")
        # A `from_config` may change what it is given.
        layer = keras.saving.deserialize_keras_object(
            copy.deepcopy(config), **options
        )
    for address, build_config in inside:
        found = layer_at(layer, tuple(address))
        if not found.built:
            found.build_from_config(build_config)
    for each in (layer, *(place.layer for place in places(layer))):
        shape = (each.get_build_config() or {}).get("input_shape")
        # Of a dict of shapes, Keras notes the keys.
        is_shape = shape and all(
            size is None or isinstance(size, int) for size in shape
        )
        if is_shape and not all(inside.built for inside in children(each)):
            each.compute_output_spec(
                keras.KerasTensor(shape, each.compute_dtype)
            )
    return layer


def graphs_in(model: Any) -> list[Any]:
    """Returns every Functional model in a model, itself included.

    That which a Sequential model makes of its layers counts too.
    """
    found = [model, *(place.layer for place in places(model))]
    graphs = [
        layer._functional if isinstance(layer, keras.Sequential) else layer
        for layer in found
        if isinstance(layer, keras.Model)
    ]
    return [graph for graph in graphs if isinstance(graph, keras.Function)]


def check_model(model: Any) -> None:
    """Raises ValueError unless `model` is a built `keras.Model`."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            "The model must be a `keras.Model`. Received: "
            f"{getattr(model, 'name', model)!r} of class "
            f"'{type(model).__name__}'"
        )
    for layer in (model, *(place.layer for place in places(model))):
        if isinstance(layer, keras.Model) and not layer.built:
            raise ValueError(
                "The model must be built: give it an input shape, or call "
                f"it once. Received: unbuilt model '{layer.name}'"
            )

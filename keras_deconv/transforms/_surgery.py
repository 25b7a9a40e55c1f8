"""Other layers in the place of some, inside a built model.

Touches Keras's records of layers and nodes, which have no public
counterpart, but are the same in every Keras 3 release.
"""

from collections.abc import Iterable
from typing import Any

import keras

from keras_deconv.transforms._structure import graphs_in
from keras_deconv.transforms._structure import list_parameters
from keras_deconv.transforms._structure import places

# Attributes that TensorFlow, PyTorch and Keras keep up to date by themselves,
# or that are replaced in ways of their own. By their whole names: those of
# users may begin alike.
_KEPT_BY_OTHERS = frozenset(
    {
        "_layers",
        "_modules",
        "_nodes",
        "_obj_reference_counts_dict",
        "_operations",
        "_operations_by_depth",
        "_self_unconditional_checkpoint_dependencies",
        "_self_unconditional_deferred_dependencies",
        "_self_unconditional_dependency_names",
        "_tracker",
    }
)


def replace_layers(model: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    """Puts other layers where layers of a model are, in the model itself.

    Every reference to a layer is replaced: attributes, lists and dicts of
    the layers around it, at any depth, and the graph of Functional models.
    Tensors of the graph stay as they are.

    Args:
        model: The model that is changed.
        pairs: Layers of the model, each with the built layer of the same
            output shape that takes its place.
    """
    new = {id(old): (old, other) for old, other in pairs}
    owners = [model, *(place.layer for place in places(model))]
    graphs = graphs_in(model)
    owners += [graph for graph in graphs if graph not in owners]
    for owner in owners:
        _replace_tracked(owner, new)
        _replace_attributes(owner, new)
    for graph in graphs:
        _replace_operations(graph, new)
    for old, other in new.values():
        _replace_in_nodes(old, other)
    for owner in owners:
        _forget_traces(owner)
    list_parameters(model)


def _forget_traces(owner: Any) -> None:
    """Lets a `call` that is a function of TensorFlow be traced anew."""
    for cls in type(owner).__mro__:
        traced = getattr(vars(cls).get("call"), "_descriptor_cache", None)
        if traced is not None:
            traced.pop(owner, None)


def _replace_tracked(owner: Any, new: dict[int, tuple[Any, Any]]) -> None:
    """Replaces layers in the list that Keras keeps of an owner's layers."""
    tracker = owner._tracker
    _, store = tracker.config["layers"]
    ids = tracker.stored_ids["layers"]
    # Before Keras 3.15, TensorFlow has wrapped the list.
    wrapped = getattr(owner._layers, "_storage", None)
    for layers in (store, owner._layers if wrapped is None else wrapped):
        for index, layer in enumerate(layers):
            if id(layer) in new:
                list.__setitem__(layers, index, new[id(layer)][1])
                ids.discard(id(layer))
                ids.add(id(new[id(layer)][1]))
    if wrapped is not None:
        # A wrapper keeps what it had, and refuses checkpoints when that goes.
        wrapper = type(owner._layers)(wrapped)
        vars(owner)["_layers"] = wrapper
        owner._track_trackable(wrapper, "_layers", overwrite=True)


def _replace_attributes(owner: Any, new: dict[int, tuple[Any, Any]]) -> None:
    found = dict(vars(owner))
    found |= found.get("_modules", {})  # Where torch keeps layers.
    for name, value in found.items():
        if name in _KEPT_BY_OTHERS:
            continue
        swapped = _swap(value, new)
        if swapped is not value:
            # All layers in it are tracked by now, so a locked tracker lets
            # it pass.
            setattr(owner, name, swapped)


def _swap(value: Any, new: dict[int, tuple[Any, Any]]) -> Any:
    """Returns a value with the layers in it replaced; itself without any."""
    if isinstance(value, keras.layers.Layer):
        return new[id(value)][1] if id(value) in new else value
    if isinstance(value, dict):
        swapped = {key: _swap(each, new) for key, each in value.items()}
        changed = any(swapped[key] is not value[key] for key in swapped)
        return swapped if changed else value
    if isinstance(value, list | tuple):
        items = [_swap(each, new) for each in value]
        if all(a is b for a, b in zip(items, value, strict=True)):
            return value
        fields = getattr(value, "_fields", None)
        if fields is not None:
            # TensorFlow wraps it in a class of its own.
            named: Any = value
            return named._replace(**dict(zip(fields, items, strict=True)))
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, set):
        if any(isinstance(each, keras.layers.Layer) for each in value):
            layers = {_swap(each, new) for each in value}
            return value if layers == value else layers
        # Some libraries keep the identities of layers.
        known = value & new.keys() if all(map(_is_id, value)) else set()
        if known:
            return (value - known) | {id(new[key][1]) for key in known}
    return value


def _is_id(value: Any) -> bool:
    return isinstance(value, int)


def _replace_operations(owner: Any, new: dict[int, tuple[Any, Any]]) -> None:
    """Replaces layers in the graph of a Functional model."""
    by_depth = {
        depth: _swap(list(operations), new)
        for depth, operations in owner._operations_by_depth.items()
    }
    keys = {_translate(key, new) for key in owner._nodes}
    # Tracked like attributes of the user, these would end up in files.
    object.__setattr__(owner, "_operations_by_depth", by_depth)
    object.__setattr__(owner, "_nodes", keys)
    # Past Keras alone: TensorFlow's checkpoints find the layers in it.
    super(keras.layers.Layer, owner).__setattr__(
        "_operations", _swap(list(owner._operations), new)
    )


def _translate(key: str, new: dict[int, tuple[Any, Any]]) -> str:
    """Returns the key of a node, which begins with the id of its layer."""
    identity, rest = key.split("_", 1)
    if int(identity) in new:
        identity = str(id(new[int(identity)][1]))
    return f"{identity}_{rest}"


def _replace_in_nodes(old: Any, new: Any) -> None:
    for node in old._inbound_nodes:
        node.operation = new
        # A batch normalization is given a mask, the identity takes none.
        for name in list(node.arguments.kwargs):
            if name not in new.call_signature_parameters:
                del node.arguments.kwargs[name]
        for tensor in node.outputs:
            history = tensor._keras_history
            tensor._keras_history = history._replace(operation=new)
    new._inbound_nodes[:] = old._inbound_nodes
    new._outbound_nodes[:] = old._outbound_nodes

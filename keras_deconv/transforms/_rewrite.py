"""The traversal of models, shared by every transform."""

from collections.abc import Callable
from typing import Any

import keras

from keras_deconv.transforms import _graph

Replace = Callable[[Any], Any]
Classes = tuple[type[Any], ...]


def rewrite(model: Any, replace: Replace, targets: Classes) -> Any:
    """Returns a copy of a model with some of its layers replaced.

    Enters Sequential and Functional models at any depth. A layer that is
    shared stays shared, names and trainable flags are kept, and every layer
    that is not replaced is copied with its weights. `model` is only read.
    The copy is not compiled. Subclasses of `keras.Model` with a graph come
    back as plain Functional models.

    Args:
        model: A built Sequential or Functional model.
        replace: Takes a layer and returns the built layer to put in its
            place, the layer itself to have it copied, or None to remove it
            (its first input then goes on to where its output went).
        targets: Classes that `replace` acts upon, to be looked for inside
            layers that cannot be entered.

    Raises:
        ValueError: If `model` is neither Sequential nor Functional, is not
            built, or has layers with a target inside that `rewrite` cannot
            enter. The message names them.
    """
    _graph.check_graph(model)
    return _Rewrite(replace, targets).copy_model(model)


class _Rewrite:
    """One run of `rewrite`; remembers the copy of each layer."""

    def __init__(self, replace: Replace, targets: Classes) -> None:
        self.replace = replace
        self.targets = targets
        self.copies: dict[int, Any] = {}

    def copy(self, layer: Any) -> Any:
        if id(layer) not in self.copies:
            make = self.copy_model if _graph.is_graph(layer) else self.swap
            self.copies[id(layer)] = make(layer)
        return self.copies[id(layer)]

    def swap(self, layer: Any) -> Any:
        new = self.replace(layer)
        if new is not layer:
            return new
        self.check_leaf(layer)
        return _copy_layer(layer)

    def check_leaf(self, layer: Any) -> None:
        inside = [
            f"'{sub.name}' ({type(sub).__name__})"
            for sub in _graph.sublayers(layer)
            if isinstance(sub, self.targets)
        ]
        if inside:
            raise ValueError(
                "Layers are replaced in Sequential and Functional models, "
                "not inside other layers. Received: layer "
                f"'{layer.name}' of class '{type(layer).__name__}', which "
                f"holds {', '.join(inside)}"
            )

    def copy_model(self, model: Any) -> Any:
        if not model.built:
            raise ValueError(
                "The model must be built: give it an input shape, or call "
                f"it once. Received: unbuilt model '{model.name}'"
            )
        if isinstance(model, keras.Sequential):
            copy = self.copy_sequential(model)
        else:
            copy = self.copy_functional(model)
        if not model.trainable:
            _copy_trainable_flags(model, copy)
        return copy

    def copy_sequential(self, model: Any) -> Any:
        inputs = _copy_input(model.inputs[0])
        layers = [self.copy(layer) for layer in model.layers]
        layers = [layer for layer in layers if layer is not None]
        # Keras does not call a Sequential that has no layers.
        layers = layers or [keras.layers.Identity()]
        return keras.Sequential([inputs, *layers], name=model.name)

    def copy_functional(self, model: Any) -> Any:
        inputs = keras.tree.map_structure(_copy_input, model.input)
        new = dict(
            zip(map(id, model.inputs), keras.tree.flatten(inputs), strict=True)
        )
        for node in _graph.nodes(model):
            args, kwargs = _replace_tensors(node.arguments, new)
            operation = node.operation
            # Operations without weights (`keras.ops`) serve any model.
            if isinstance(operation, keras.layers.Layer):
                operation = self.copy(operation)
            if operation is None:
                outputs = new[id(node.input_tensors[0])]
            else:
                outputs = operation(*args, **kwargs)
            new |= zip(
                map(id, node.outputs), keras.tree.flatten(outputs), strict=True
            )
        untouched = set(map(id, keras.tree.flatten(inputs)))

        def output(tensor: Any) -> Any:
            tensor = new[id(tensor)]
            # Keras 3.12 refuses an input that no layer has taken.
            if id(tensor) in untouched:
                tensor = keras.layers.Identity()(tensor)
            return tensor

        outputs = keras.tree.map_structure(output, model.output)
        return keras.Model(inputs, outputs, name=model.name)


def _replace_tensors(arguments: Any, new: dict[int, Any]) -> Any:
    return keras.tree.map_structure(
        lambda value: new.get(id(value), value),
        (arguments.args, arguments.kwargs),
    )


def _copy_input(tensor: Any) -> Any:
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        sparse=tensor.sparse,
        name=_graph.input_name(tensor),
    )


def _copy_layer(layer: Any) -> Any:
    options = {}
    if isinstance(layer, keras.layers.Lambda):
        # Its function comes from this process, not from a file.
        options["safe_mode"] = False
    copy = type(layer).from_config(layer.get_config(), **options)
    if not layer.built:
        return copy
    copy.build_from_config(layer.get_build_config() or {})
    olds = [layer, *_graph.sublayers(layer)]
    news = [copy, *_graph.sublayers(copy)]
    if len(olds) != len(news):
        raise ValueError(
            "A layer must be rebuilt whole by `from_config(get_config())` to "
            f"be copied. Received: layer '{layer.name}' of class "
            f"'{type(layer).__name__}', which has {len(olds) - 1} layers "
            f"inside and {len(news) - 1} after that"
        )
    for old, new in zip(olds, news, strict=True):
        if new.trainable != old.trainable:
            new.trainable = old.trainable
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        if store:
            new.load_own_variables(store)
    return copy


def _copy_trainable_flags(model: Any, copy: Any) -> None:
    """Makes a frozen model's copy frozen, with the layers as they were.

    Setting the flag of a model sets it in all its layers, which may have
    been thawed one by one since.
    """
    flags = [layer.trainable for layer in _graph.sublayers(copy)]
    copy.trainable = False
    for layer, flag in zip(_graph.sublayers(copy), flags, strict=True):
        layer.trainable = flag

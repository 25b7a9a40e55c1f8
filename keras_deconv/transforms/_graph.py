"""Reading the graph of a Keras model.

The one module that touches Keras's node attributes, which have no public
counterpart but are the same in every Keras 3 release.
"""

from collections.abc import Iterator
from typing import Any

import keras

from keras_deconv._types import Tensor


def is_graph(layer: Any) -> bool:
    """Returns whether `layer` is a Sequential or Functional model."""
    return isinstance(layer, keras.Sequential) or (
        isinstance(layer, keras.Model) and isinstance(layer, keras.Function)
    )


def check_graph(model: Any) -> None:
    """Raises ValueError unless `model` is a Sequential or Functional model."""
    if not is_graph(model):
        raise ValueError(
            "The model must be a Sequential or Functional model. Received: "
            f"{getattr(model, 'name', model)!r} of class "
            f"'{type(model).__name__}'"
        )


def nodes(model: Any) -> Iterator[Any]:
    """Yields the calls in a Functional model, producers first."""
    for _, at_depth in sorted(model._nodes_by_depth.items(), reverse=True):
        for node in at_depth:
            if not node.is_input:
                yield node


def feeding(model: Any, cls: type[Any]) -> Iterator[Any]:
    """Yields the layers whose output goes straight into one of class `cls`.

    Where a nested model produces that output, it is the model's last layer.
    """
    check_graph(model)
    for layer in sublayers(model):
        if isinstance(layer, cls):
            for node in layer._inbound_nodes:
                for tensor in node.input_tensors:
                    yield _producer(tensor)


def _producer(tensor: Tensor) -> Any:
    history = tensor._keras_history
    if is_graph(history.operation):
        return _producer(history.operation.outputs[history.tensor_index])
    return history.operation


def input_name(tensor: Tensor) -> str:
    """Returns the name of the input layer that a model's input comes from."""
    return str(tensor._keras_history.operation.name)


def sublayers(layer: Any) -> list[Any]:
    """Returns every layer inside a layer, at any depth."""
    return list(layer._flatten_layers(include_self=False))

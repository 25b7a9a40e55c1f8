"""Which batch normalization belongs to which convolution."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_deconv.layers import TRANSPOSED
from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import graphs_in
from keras_deconv.transforms._trace import Trace

BATCH_NORM = keras.layers.BatchNormalization


def sources(
    record: Trace, model: Any, found: Sequence[Place], cls: Any
) -> dict[int, list[Any]]:
    """Returns the layers that feed a layer of a class, by its identity.

    A layer counts as a source if its output goes in unchanged, apart from a
    cast; for all else None is listed. A layer that is called more than once
    may have several.
    """
    made = {
        id(call.outputs): call.layer
        for call in record.calls
        if not call.layer._layers
    }
    nodes = [node for graph in graphs_in(model) for node in _nodes_of(graph)]
    feeding = {}
    for place in found:
        if isinstance(place.layer, cls):
            cast = _source_in_graph(place.layer, nodes)
            each = [
                made.get(id(call.inputs), cast)
                for call in record.calls_of(place.layer)
            ]
            feeding[id(place.layer)] = list(
                {id(source): source for source in each}.values()
            )
    return feeding


def producers(feeding: dict[int, list[Any]]) -> dict[int, Any]:
    """Returns the one layer that feeds another on every call, where one does.

    Args:
        feeding: As `sources` returns it.
    """
    return {
        key: layers[0]
        for key, layers in feeding.items()
        if len(layers) == 1 and layers[0] is not None
    }


def _source_in_graph(layer: Any, nodes: Sequence[Any]) -> Any:
    """Returns the layer before another one in all graphs, or None.

    Tensors that Keras casts on the way into a layer cannot be followed.
    """
    before = {
        node.input_tensors[0]._keras_history.operation
        for node in nodes
        if node.operation is layer
    }
    if len(before) != 1:
        return None
    (source,) = before
    is_leaf = isinstance(source, keras.layers.Layer) and not source._layers
    return source if is_leaf else None


def _nodes_of(graph: Any) -> list[Any]:
    return [node for nodes in graph._nodes_by_depth.values() for node in nodes]


def can_take(
    layer: Any, norm: Any, record: Trace, model: Any, trusting: bool
) -> bool:
    """Returns whether a layer can take in the normalization that it feeds.

    It must be linear, both called once, nothing else may use its output,
    and the normalization must act on its channels.

    Args:
        layer: What feeds the normalization.
        norm: The `BatchNormalization`, or what stands in its place.
        record: One call of the model.
        model: The model.
        trusting: Whether to believe that code around the layer, outside of
            any graph, does not use its output in another way.
    """
    if not hasattr(layer, "use_bias") or not _is_linear(layer):
        return False
    calls = record.calls_of(layer)
    if len(calls) != 1 or len(record.calls_of(norm)) != 1:
        return False
    rank = len(calls[0].outputs.shape)
    axis = norm.axis if isinstance(norm.axis, int) else norm.axis[0]
    if axis % rank != _channel_axis(layer) % rank:
        return False
    graphs = [
        graph
        for graph in graphs_in(model)
        if any(each is layer for each in graph.operations)
    ]
    if not graphs:
        return trusting and record.uses[id(calls[0].outputs)] == 1
    return all(_is_used_once(layer, graph) for graph in graphs)


def _is_used_once(layer: Any, graph: Any) -> bool:
    """Returns whether one node takes what a layer in a graph puts out."""
    users = [
        node
        for node in _nodes_of(graph)
        if any(_comes_from(tensor, layer) for tensor in node.input_tensors)
    ]
    return len(users) == 1 and not any(
        _comes_from(tensor, layer) for tensor in graph.outputs
    )


def _comes_from(tensor: Any, layer: Any) -> bool:
    return tensor._keras_history.operation is layer


def affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and offset of what a normalization computes, `(C,)`."""
    mean, variance = map(_array, (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * _array(norm.gamma)
    offset = -mean * scale
    if norm.center:
        offset = offset + _array(norm.beta)
    return scale, offset


def take_in(layer: Any, scale: np.ndarray, offset: np.ndarray) -> None:
    """Scales and shifts the outputs of a layer with a bias, by channel."""
    is_separable = hasattr(layer, "pointwise_kernel")
    kernel = layer.pointwise_kernel if is_separable else layer.kernel
    values = _array(kernel)
    if isinstance(
        layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D
    ):
        values = values * scale.reshape(values.shape[-2:])
    elif isinstance(layer, TRANSPOSED):
        values = values * scale[:, None]
    else:
        values = values * scale
    kernel.assign(values)
    layer.bias.assign(_array(layer.bias) * scale + offset)


def _is_linear(layer: Any) -> bool:
    activation = getattr(layer, "activation", None)
    return activation in (None, keras.activations.linear)


def _channel_axis(layer: Any) -> int:
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _array(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value), "float64")

"""The matrix products that a layer consists of, counted and not timed."""

import collections

import keras
from keras import ops

_TORCH_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")


def counts(layer, inputs, training, with_gradient=False):
    """Returns how many products a step takes: a first one, and a second.

    On TensorFlow and JAX nothing runs. There the first step is the one that
    takes the true branch of each condition, the second takes the other.

    Args:
        layer: A built layer.
        inputs: An array.
        training: Whether to call the layer in training mode.
        with_gradient: Whether a step has a gradient of the inputs and of
            the trainable variables.
    """
    match keras.backend.backend():
        case "tensorflow":
            graph = _tensorflow_graph(layer, inputs, training, with_gradient)
            found = collections.Counter(_tensorflow_products(graph))
        case "jax":
            found = collections.Counter(
                branch
                for name, _, branch in jax_products(
                    layer, inputs, training, with_gradient
                )
                if name == "dot_general"
            )
        case "torch":
            return tuple(
                _torch_count(layer, inputs, training, with_gradient)
                for _ in range(2)
            )
    return found[None] + found[True], found[None] + found[False]


def jax_products(layer, inputs, training, with_gradient=False):
    """Yields name, precision and branch (or None) of products in a jaxpr."""
    import jax

    def objective(trainable, inputs, state):
        outputs, _ = layer.stateless_call(
            trainable, state, inputs, training=training
        )
        return ops.sum(ops.square(outputs))

    if with_gradient:
        objective = jax.grad(objective, argnums=(0, 1))
    jaxpr = jax.make_jaxpr(objective)(
        [v.value for v in layer.trainable_variables],
        inputs,
        [v.value for v in layer.non_trainable_variables],
    )
    return _jaxpr_products(jaxpr.jaxpr, None)


def _jaxpr_products(jaxpr, branch):
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name in ("dot_general", "conv_general_dilated"):
            yield name, parameters["precision"], branch
        elif name == "cond":
            for taken, inner in enumerate(parameters["branches"]):
                yield from _jaxpr_products(inner.jaxpr, bool(taken))
        else:
            for inner in parameters.values():
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _jaxpr_products(inner, branch)


def _tensorflow_graph(layer, inputs, training, with_gradient):
    import tensorflow as tf

    @tf.function
    def step(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            objective = tf.reduce_sum(tf.square(outputs))
        if not with_gradient:
            return objective
        variables = [v.value for v in layer.trainable_variables]
        return tape.gradient(objective, [inputs, *variables])

    return step.get_concrete_function(tf.constant(inputs)).graph


def _tensorflow_products(graph, branch=None):
    """Yields the branch (or None) of each product that a graph needs."""
    for operation in _needed(graph):
        if "MatMul" in operation.type or "Einsum" in operation.type:
            yield branch
        elif operation.type in ("If", "StatelessIf"):
            for name, taken in (("then_branch", True), ("else_branch", False)):
                function = graph._get_function(operation.get_attr(name).name)
                yield from _tensorflow_products(function.graph, taken)
        elif operation.type in ("PartitionedCall", "StatefulPartitionedCall"):
            function = graph._get_function(operation.get_attr("f").name)
            yield from _tensorflow_products(function.graph, branch)


def _needed(graph):
    """Returns the operations that outputs depend on; others do not run."""
    found, stack = set(), [tensor.op for tensor in graph.outputs]
    while stack:
        operation = stack.pop()
        if operation not in found:
            found.add(operation)
            stack += [tensor.op for tensor in operation.inputs]
            stack += operation.control_inputs
    return found


def dispatched(*names):
    """Returns a context whose `count` is that of PyTorch's operations."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.__name__.partition(".")[0]
            self.count += name in names
            return function(*args, **(kwargs or {}))

    return Recorder()


def _torch_count(layer, inputs, training, with_gradient):
    import torch

    inputs = torch.tensor(inputs, requires_grad=with_gradient)
    with dispatched(*_TORCH_PRODUCTS) as recorder:
        objective = layer(inputs, training=training).square().sum()
        if with_gradient:
            variables = [v.value for v in layer.trainable_variables]
            torch.autograd.grad(objective, [inputs, *variables])
    return recorder.count

"""Functions that are traced, or computed anew for their gradients."""

import functools
from collections.abc import Callable
from typing import Any

import keras


def recomputed(branch: Callable[[], Any]) -> Callable[[], Any]:
    """Returns a branch whose gradient computes it anew, with JAX.

    There, all that the gradients of either branch need are outputs of both,
    zeros in the one that was not taken: of the size of all patches.
    """
    if keras.backend.backend() != "jax":
        return branch
    import jax

    again: Callable[[], Any] = jax.checkpoint(branch, prevent_cse=False)
    return again


def is_recomputing() -> bool:
    """Whether PyTorch calls a layer anew, for the gradient of a first call.

    `keras.RematScope` has it do so. What the first call has recorded is not
    to be recorded again.
    """
    if keras.backend.backend() != "torch":
        return False
    import torch

    if torch.compiler.is_compiling():
        return False
    # Of the pass back that this thread is in.
    task = getattr(torch._C, "_current_graph_task_id", None)
    return task is not None and task() != -1


@functools.cache
def traced_once(
    function: Callable[..., Any], *arguments: Any
) -> Callable[[Any], Any]:
    """Returns a function of a tensor that all graphs of TensorFlow share.

    It is traced, and made ready to run, once for each shape, not for each
    layer, and so is its gradient, which computes it anew: a branch would have
    an output for each tensor that this needs. Eager code calls it as it is,
    for TensorFlow warns of functions that are traced for many shapes there.

    Args:
        function: Of one tensor and the arguments; returns one tensor.
        *arguments: More of its arguments.
    """

    def call(inputs: Any) -> Any:
        return function(inputs, *arguments)

    if keras.backend.backend() != "tensorflow":
        return call
    import tensorflow as tf

    share = tf.function(
        autograph=False, experimental_attributes={"_noinline": True}
    )

    @share
    def gradient(inputs: Any, upstream: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = call(inputs)
        return tape.gradient(outputs, inputs, upstream)

    forward = share(call)

    @tf.custom_gradient
    def shared(inputs: Any) -> Any:
        return forward(inputs), functools.partial(gradient, inputs)

    def at_once_or_shared(inputs: Any) -> Any:
        return call(inputs) if tf.executing_eagerly() else shared(inputs)

    return at_once_or_shared


def run_abstractly(function: Callable[[Any], Any], inputs: Any) -> None:
    """Calls a function for what it does on the way, not for its result.

    JAX compiles every operation that it runs by itself, which takes seconds
    for a network; it traces the function instead.
    """
    if keras.backend.backend() == "jax":
        import jax

        jax.eval_shape(function, inputs)
    else:
        function(inputs)

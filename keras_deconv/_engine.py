"""The one module that speaks to TensorFlow, PyTorch or JAX themselves.

`keras.ops` has no word for what is asked for here. Each framework is
imported only while Keras runs on it.
"""

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np


def full_precision() -> AbstractContextManager[Any]:
    """Returns a context in which products keep all bits of float32.

    On GPUs, JAX and TensorFlow multiply float32 matrices in TF32, which
    keeps 10 bits of the mantissa, unless told otherwise; a root multiplies
    that error. JAX takes the precision with each product, gradients
    included. PyTorch keeps all bits by default, and what
    `torch.set_float32_matmul_precision` says is the user's choice; but not
    that `torch.autocast` rounds its factors to half of them.
    TensorFlow has one switch for the whole process: `warn_of_tf32`.
    """
    if keras.backend.backend() == "torch":
        return _without_autocast()
    if keras.backend.backend() == "jax":
        import jax

        precision: AbstractContextManager[None] = jax.default_matmul_precision(
            "float32"
        )
        return precision
    return contextlib.nullcontext()


def _without_autocast() -> AbstractContextManager[Any]:
    import torch

    kinds = [
        kind
        for kind in ("cuda", "cpu", "mps", "xpu")
        if torch.is_autocast_enabled(kind)
    ]
    if not kinds:
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    for kind in kinds:
        stack.enter_context(torch.autocast(kind, enabled=False))
    return stack


def warn_of_tf32() -> None:
    """Warns if TensorFlow is going to compute roots in TF32 on a GPU."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if (
        tf.config.list_physical_devices("GPU")
        and tf.config.experimental.tensor_float_32_execution_enabled()
    ):
        warnings.warn(
            "TensorFlow multiplies in TF32 on this GPU, the statistics of "
            "deconvolution layers too. "
            "`tf.config.experimental.enable_tensor_float_32_execution(False)` "
            "makes it keep all bits of float32.",
            stacklevel=2,
        )


def warn_of_triton() -> None:
    """Warns if XLA is going to measure kernels of Triton for each product.

    On an H100 it took 22 s for one root of 144 features, and more than 90 s
    for a VGG11, to find kernels no faster than those of cuBLAS.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if keras.backend.backend() != "jax" or "triton_gemm" in flags:
        return
    import jax

    if jax.default_backend() == "gpu":
        warnings.warn(
            "On a GPU, XLA measures dozens of Triton kernels for each product "
            "of deconvolution layers: a VGG11 takes over 90 s to start. "
            "Set XLA_FLAGS=--xla_gpu_enable_triton_gemm=false in the "
            "environment, before JAX starts.",
            stacklevel=2,
        )


def with_gradient(
    forward: Callable[[Any], tuple[Any, tuple[Any, ...]]],
    backward: Callable[[tuple[Any, ...], Any], Any],
    inputs: Any,
) -> Any:
    """Calls a function of a tensor whose gradient is given.

    `ops.custom_gradient` on PyTorch is none of those that `torch.func` takes.

    Args:
        forward: Returns the result, and what the gradient needs.
        backward: Takes these and the gradient of the result, and returns
            that of the tensor.
        inputs: The tensor.
    """
    if keras.backend.backend() == "torch":
        outputs, *_ = _torch_with_gradient().apply(inputs, forward, backward)
        return outputs

    @keras.ops.custom_gradient
    def call(inputs: Any) -> tuple[Any, Callable[..., Any]]:
        outputs, kept = forward(inputs)
        return outputs, lambda upstream: backward(kept, upstream)

    return call(inputs)


def has_fast_eigh(matrix: Any) -> bool:
    """Whether a decomposition takes less time than two dozen products.

    LAPACK's on a CPU does, where PyTorch calls it. Those of XLA, which
    compiles the steps of TensorFlow and JAX, and those of GPUs are slow.
    """
    return bool(
        keras.backend.backend() == "torch" and matrix.device.type == "cpu"
    )


class Numbers:
    """The first element of some variables: a number where it is known.

    PyTorch computes as it goes, so that Python can tell what comes next, but
    to read a variable is to wait for the GPU. What a layer has written itself
    it knows without, as long as nobody else writes. There is nothing to know
    while shapes are inferred, nor in graphs, those of `torch.compile` too:
    there, tensors are returned.

    Args:
        *variables: Of Keras.
    """

    def __init__(self, *variables: Any) -> None:
        self._variables = variables
        self._numbers: tuple[Any, ...] = ()
        self._seen: list[tuple[Any, int]] = []

    def read(self) -> tuple[Any, ...]:
        """Returns a number or a tensor for each variable."""
        values = [keras.ops.convert_to_tensor(v) for v in self._variables]
        firsts = tuple(each[0] if len(each.shape) else each for each in values)
        if not _computes_at_once(values[0]):
            return firsts
        if not self._are_as_seen(values):
            self._numbers = tuple(each.item() for each in firsts)
            self._seen = []
        return self._numbers

    def keep(self, *numbers: Any) -> None:
        """Remembers what has just been written."""
        values = [keras.ops.convert_to_tensor(v) for v in self._variables]
        if keras.backend.backend() != "torch" or values[0].is_inference():
            return
        self._numbers = numbers
        self._seen = [(each, each._version) for each in values]

    def _are_as_seen(self, values: Sequence[Any]) -> bool:
        return bool(self._seen) and all(
            value is seen and value._version == version
            for value, (seen, version) in zip(values, self._seen, strict=True)
        )


def _computes_at_once(tensor: Any) -> bool:
    if keras.backend.backend() != "torch":
        return False
    import torch

    return not (tensor.is_meta or torch.compiler.is_compiling())


def cond(
    condition: Any, this: Callable[[], Any], other: Callable[[], Any]
) -> Any:
    """`ops.cond`, which on PyTorch takes as long as a layer, if known.

    There it makes an operation with a name of its own on each call, for which
    `torch.compile` starts anew.
    """
    if isinstance(condition, bool):
        return this() if condition else other()
    if keras.backend.backend() == "torch":
        # On the meta device there is nothing to tell.
        return this() if condition.is_meta or condition else other()
    return keras.ops.cond(condition, this, other)


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
    an output for each tensor that this needs.

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

    return shared  # type: ignore[no-any-return]


def reshape(inputs: Any, shape: Sequence[Any]) -> Any:
    """`ops.reshape`, which on PyTorch takes ten times as long as that."""
    if keras.backend.backend() == "torch":
        return inputs.reshape(tuple(shape))
    return keras.ops.reshape(inputs, shape)


def where(condition: Any, this: Any, other: Any) -> Any:
    """`ops.where` of tensors of one dtype, which saves PyTorch the promotion.

    That takes several times as long as the choice.
    """
    if keras.backend.backend() == "torch":
        return this.where(condition, other)
    return keras.ops.where(condition, this, other)


def as_number(count: Any, like: Any) -> Any:
    """Returns a count to calculate with: what is known needs no tensor.

    Args:
        count: A number, or a tensor of one.
        like: A tensor, whose dtype is taken.
    """
    return (
        count if isinstance(count, int) else keras.ops.cast(count, like.dtype)
    )


def constant(make: Callable[..., Any], *arguments: Any, like: Any) -> Any:
    """Returns the array that a function makes of numbers, as a tensor.

    PyTorch makes it once: each time is a copy to the GPU.

    Args:
        make: Returns an array.
        *arguments: Of this function, to be told apart by their values.
        like: A tensor, whose dtype and device are taken.
    """
    if keras.backend.backend() == "torch":
        return _torch_constant(make, arguments, like.dtype, like.device)
    return keras.ops.convert_to_tensor(make(*arguments), like.dtype)


def eye(size: Any, like: Any) -> Any:
    """`ops.eye`, which PyTorch need not make anew on each call.

    Args:
        size: Of either axis.
        like: Has the dtype and the device that are wanted.
    """
    if keras.backend.backend() == "torch":
        return _torch_constant(np.eye, (size,), like.dtype, like.device)
    return keras.ops.eye(size, dtype=like.dtype)


def add_product(start: Any, x: Any, y: Any) -> Any:
    """Returns `start + x @ y`: one operation of PyTorch for `(n, F, F)`."""
    if keras.backend.backend() == "torch" and start.ndim == 3:
        return start.baddbmm(x, y)
    return start + x @ y


def average(inputs: Any, axis: int) -> Any:
    """`ops.mean`, which on PyTorch returns that of float64 in float32."""
    ops = keras.ops
    inputs = ops.convert_to_tensor(inputs)
    if keras.backend.backend() == "torch":
        return inputs.mean(axis)
    count = as_number(ops.shape(inputs)[axis], like=inputs)
    return ops.sum(inputs, axis=axis) / count


def lerp(start: Any, end: Any, weight: Any) -> Any:
    """Returns `(1 - weight) * start + weight * end`.

    Args:
        start: A tensor.
        end: One of the same dtype.
        weight: A number, or a tensor of one.
    """
    if keras.backend.backend() == "torch":
        return start.lerp(end, weight)
    return start * (1 - weight) + end * weight


def mean_and_variance(rows: Any) -> tuple[Any, Any]:
    """Returns mean and variance of each column of `(rows, C)`.

    `ops.var` returns that of float64 in float32, and so does `ops.mean` on
    PyTorch, which has one operation for both.
    """
    if keras.backend.backend() == "torch":
        import torch

        variance, mean = torch.var_mean(rows, dim=0, correction=0)
        return mean, variance
    ops = keras.ops
    count = as_number(ops.shape(rows)[0], like=rows)
    mean = ops.sum(rows, axis=0) / count
    return mean, ops.sum(ops.square(rows - mean), axis=0) / count


def as_constant(variable: Any) -> Any:
    """Returns the value of a variable, as it stays for a gradient.

    What PyTorch's autograd has kept of the variable itself is of no use once
    that is assigned.
    """
    value = keras.ops.convert_to_tensor(variable)
    if keras.backend.backend() != "torch":
        return value
    import torch

    # A graph is to be the same, with gradients and without.
    tracing: Any = torch.jit
    is_graph = tracing.is_tracing() or torch.compiler.is_compiling()
    return value.clone() if torch.is_grad_enabled() and not is_graph else value


def gradients_are_in_order() -> bool:
    """Whether that of a convolution's kernel lies as Keras has its axes.

    PyTorch's has filters first, and another one takes long to add to it.
    """
    return bool(keras.backend.backend() != "torch")


def slice_axis(inputs: Any, axis: int, start: int, size: Any) -> Any:
    """Returns `size` elements of an axis, from `start` on.

    TensorFlow takes 25 times longer for the gradient of an index than for
    that of `tf.slice`; PyTorch is the quicker with an index.
    """
    if isinstance(size, int) and size == inputs.shape[axis]:
        return inputs
    if keras.backend.backend() != "tensorflow":
        return inputs[(*(slice(None),) * axis, slice(start, start + size))]
    import tensorflow as tf

    starts = [0] * len(inputs.shape)
    sizes = [-1 if known is None else known for known in inputs.shape]
    starts[axis], sizes[axis] = start, size
    return tf.slice(inputs, starts, sizes)


def take_every(inputs: Any, strides: Sequence[int]) -> Any:
    """Returns every S-th position on each spatial axis, from the first on.

    For TensorFlow that is a pooling of windows of one position: an index
    with a stride takes it ten times as long, and three times with its
    gradient. PyTorch copies nothing at an index.

    Args:
        inputs: `(n, *spatial, C)`, of one to three spatial axes.
        strides: S for each of them.
    """
    if all(stride == 1 for stride in strides):
        return inputs
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # There is none of three axes in float64.
        if inputs.dtype == tf.float32:
            axes = "DHW"[-len(strides) :]
            return tf.nn.avg_pool(
                inputs, 1, list(strides), "VALID", f"N{axes}C"
            )
    every = [slice(None, None, stride) for stride in strides]
    return inputs[(slice(None), *every)]


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


def replica() -> tuple[Any, int]:
    """Returns which replica of a training step this is, and of how many.

    A replica is where a share of the batch is computed: of a
    `tf.distribute` strategy, of PyTorch's default process group, or of the
    axes that `jax.shard_map` or `jax.pmap` splits data over. There is one
    elsewhere, under `keras.distribution` too, where JAX sees whole batches.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # None outside of replicas, where models are built.
        context = tf.distribute.get_replica_context()
        if context is not None:
            return context.replica_id_in_sync_group, (
                context.num_replicas_in_sync
            )
    elif backend == "torch":
        import torch.distributed

        is_available = torch.distributed.is_available()
        if is_available and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), (
                torch.distributed.get_world_size()
            )
    elif backend == "jax" and (axes := _mapped_axes()):
        import jax

        return jax.lax.axis_index(tuple(axes)), math.prod(axes.values())
    return 0, 1


def all_reduce_sum(vector: Any) -> Any:
    """Returns the sum of a tensor over all replicas.

    Its gradient is the sum over all replicas of theirs. Every replica must
    get here.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, vector)
    if backend == "torch":
        return _torch_all_reduce_sum().apply(vector)
    import jax

    psum: Any = jax.lax.psum
    return psum(vector, tuple(_mapped_axes()))


def may_reduce_in_branches() -> bool:
    """Whether `all_reduce_sum` may be called inside of `ops.cond`."""
    return bool(keras.backend.backend() != "tensorflow")


def _mapped_axes() -> dict[str, int]:
    """Returns names and sizes of the axes that data is split over here."""
    import jax

    # Old versions of JAX do not tell.
    get_mesh = getattr(jax.sharding, "get_abstract_mesh", lambda: None)
    mesh: Any = get_mesh()
    axes = getattr(mesh, "manual_axes", ())
    return {axis: mesh.shape[axis] for axis in axes}


@functools.cache
def _torch_constant(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    dtype: Any,
    device: Any,
) -> Any:
    import torch

    # One that is made in inference mode would be of no use to a gradient.
    with torch.inference_mode(False):
        return torch.as_tensor(make(*arguments), dtype=dtype, device=device)


@functools.cache
def _torch_with_gradient() -> Any:
    import torch

    class WithGradient(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(inputs: Any, forward: Any, backward: Any) -> Any:
            outputs, kept = forward(inputs)
            return outputs, *kept

        @staticmethod
        def setup_context(context: Any, inputs: Any, output: Any) -> None:
            _, *kept = output
            context.own_backward = inputs[2]
            context.mark_non_differentiable(*kept)
            context.save_for_backward(*kept)

        @staticmethod
        def backward(context: Any, upstream: Any, *kept: Any) -> Any:
            found = context.own_backward(context.saved_tensors, upstream)
            return found, None, None

    return WithGradient


@functools.cache
def _torch_all_reduce_sum() -> Any:
    import torch

    class AllReduceSum(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, vector: Any) -> Any:
            total = vector.clone(memory_format=torch.contiguous_format)
            torch.distributed.all_reduce(total)
            return total

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            return all_reduce_sum(gradient)

    return AllReduceSum

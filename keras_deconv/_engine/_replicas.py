"""The replicas of a training step, each with its share of a batch."""

import functools
import math
from typing import Any

import keras


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


def as_varying(value: Any, like: Any) -> Any:
    """Returns a value of which JAX knows that it may vary over devices.

    In `jax.shard_map`, it keeps track of what is the same on all, and the
    branches of a condition must agree in that.

    Args:
        value: A tensor.
        like: One that varies over so many axes.
    """
    if keras.backend.backend() != "jax":
        return value
    import jax

    if not hasattr(jax.lax, "pcast"):
        return value  # An older version.
    axes = _varying_axes(like) - _varying_axes(value)
    return jax.lax.pcast(value, tuple(axes), to="varying") if axes else value


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


def _varying_axes(value: Any) -> frozenset[Any]:
    import jax

    kind: Any = jax.typeof(value)
    # Another name of it before JAX 0.10.
    manual = getattr(kind, "manual_axis_type", None)
    found: frozenset[Any] = (
        getattr(kind, "vma", frozenset()) if manual is None else manual.varying
    )
    return found


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

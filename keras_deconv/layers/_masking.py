"""Masks: samples that statistics leave out."""

from typing import Any

import numpy as np
from keras import ops

from keras_deconv._engine import all_reduce_sum
from keras_deconv._engine import replica
from keras_deconv._types import Tensor


def over_samples(mask: Tensor, inputs: Tensor, layer: Any) -> Tensor:
    """Returns a mask as `(..., 1)`, with the leading axes of the inputs.

    Args:
        mask: True where a sample counts, of the leading axes of `inputs` or
            of the first of them.
        inputs: `(..., C)`.
        layer: Has the name for the error.

    Raises:
        ValueError: If the mask has other axes.
    """
    missing = len(inputs.shape) - len(mask.shape)
    leading = inputs.shape[: len(mask.shape)]
    if missing < 1 or any(
        None not in sizes and sizes[0] not in (1, sizes[1])
        for sizes in zip(mask.shape, leading, strict=True)
    ):
        raise ValueError(
            f"The mask of layer '{layer.name}' must have the first axes of "
            "the inputs, and not that of the channels. Received: mask of "
            f"shape {tuple(mask.shape)}, inputs of shape {tuple(inputs.shape)}"
        )
    mask = ops.reshape(mask, (*ops.shape(mask), *(1,) * missing))
    return ops.broadcast_to(mask, (*ops.shape(inputs)[:-1], 1))


def leave_out(samples: Tensor, mask: Tensor, layer: Any) -> Tensor:
    """Returns samples with the statistics of those that a mask keeps.

    Mean and covariance of all that is returned are those of the samples that
    are kept: the others become the mean of these, which in turn are spread
    about it to make up for that, sqrt(all / kept) times as far. An observer,
    which counts samples, gets those that are kept alone.

    Args:
        samples: `(..., C)`.
        mask: `(..., 1)`, not zero where a sample counts.
        layer: The `Whitening` layer, with its settings.
    """
    if layer.is_observed():
        return _kept_alone(samples, mask)
    dtype = layer.statistics_dtype
    samples, keep = ops.cast(samples, dtype), ops.cast(mask, "bool")
    axes = tuple(range(len(samples.shape) - 1))
    # Not a product: what is left out may be infinite.
    total = ops.sum(ops.where(keep, samples, 0), axes)
    kept = ops.sum(ops.cast(keep, dtype), axes)
    count = ops.sum(ops.ones_like(keep, dtype=dtype), axes)
    if layer.synchronized and replica()[1] > 1:
        sums = all_reduce_sum(ops.concatenate([total, kept, count]))
        total, kept, count = sums[:-2], sums[-2:-1], sums[-1:]
    kept = ops.maximum(kept, 1)
    mean = total / kept
    centred = ops.where(keep, samples - mean, 0)
    return mean + ops.sqrt(count / kept) * centred


def _kept_alone(samples: Tensor, mask: Tensor) -> Tensor:
    """Returns rows `(kept, C)`; one of NaN, which does not count, for none."""
    keep = ops.convert_to_numpy(mask)[..., 0] != 0
    kept = ops.convert_to_numpy(samples)[keep]
    if not len(kept):
        kept = np.full((1, samples.shape[-1]), np.nan, "float32")
    return ops.convert_to_tensor(kept, dtype=samples.dtype)

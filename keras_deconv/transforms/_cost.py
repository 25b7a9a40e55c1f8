"""What a layer holds and computes, plain and deconvolved."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras

from keras_deconv import ops as deconv_ops
from keras_deconv.layers import TRANSPOSED
from keras_deconv.layers import SamplingSettings
from keras_deconv.layers import Whitening
from keras_deconv.transforms._trace import Call

# Images per training step that costs of a whole step are divided by.
BATCH = 128
# Matrix products that stand for an eigendecomposition (Golub and Van Loan).
_EIGH = 13


@dataclass(frozen=True)
class Cost:
    """What a layer holds, and computes for one image.

    Attributes:
        parameters: Trainable numbers.
        buffers: Numbers that are not trained.
        flops: Operations of a forward pass in training, for one image in a
            batch of 128: a product and a sum are two.
    """

    parameters: int = 0
    buffers: int = 0
    flops: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters,
            self.buffers + other.buffers,
            self.flops + other.flops,
        )


def cost_of(layer: Any, calls: Iterable[Call]) -> Cost:
    """Returns the cost of a built layer that is as it is."""
    trainable, rest = (
        sum(math.prod(weight.shape) for weight in weights)
        for weights in (
            layer._trainable_variables,
            layer._non_trainable_variables,
        )
    )
    kernels = [
        weight for weight in layer._trainable_variables if len(weight.shape) > 1
    ]
    flops = 0.0
    for call in calls:
        flops += (
            2
            * _positions(layer, call)
            * sum(math.prod(kernel.shape) for kernel in kernels)
        )
        if isinstance(layer, keras.layers.BatchNormalization):
            flops += 4 * math.prod(call.outputs.shape[1:])
    if isinstance(layer, Whitening):
        flops += whitening(layer, layer, calls).flops
    return Cost(trainable, rest, flops)


def whitening(twin: Whitening, layer: Any, calls: Iterable[Call]) -> Cost:
    """Returns what whitening adds to a layer.

    Covariance, root and folding; the first two as often as D is computed.

    Args:
        twin: With the settings; it need not be built.
        layer: The built layer that it is a twin of.
        calls: Those of `layer`.
    """
    kernel = sum(
        math.prod(weight.shape)
        for weight in layer._trainable_variables
        if len(weight.shape) > 1
    )
    total = Cost()
    for blocks in twin.whitened_blocks(_channels(layer)):
        features, matrices = blocks.features, blocks.matrices
        square = features**2
        buffers = matrices * (features + square)
        period = twin.period(blocks)
        if period > 1:
            buffers += matrices * (square + 2)  # The last D, two variances.
        if period > 1 or twin.freeze_after is not None:
            buffers += 1  # The step.
        flops = 0.0
        for call in calls:
            rows = _sampled(twin, layer, call) * blocks.groups * blocks.count
            each = rows * BATCH // matrices
            if _has_few_rows(twin, layer, call, each, features):
                root = _products(twin) * 2 * (2 * each) ** 3
                root += 4 * each**2 * features + 2 * each * square
            else:
                root = _products(twin) * 2 * features * square
                root += 2 * each * square
            flops += matrices * root / BATCH / period
            flops += 2 * features * kernel / BATCH
        total += Cost(0, buffers, flops)
    return total


def _has_few_rows(
    twin: Whitening, layer: Any, call: Call, rows: int, features: int
) -> bool:
    """Whether D is computed by rows: see `BatchMoments`."""
    is_dense = not _sizes(layer, call) and twin.method == "newton_schulz"
    return is_dense and bool(deconv_ops.are_few(rows, features))


def _products(twin: Whitening) -> int:
    if twin.method == "eigh":
        return _EIGH
    return 5 if twin.method == "minimax" else 3 * twin.num_iterations - 3


def _sampled(twin: Whitening, layer: Any, call: Call) -> int:
    sizes = _sizes(layer, call)
    if not isinstance(twin, SamplingSettings):
        return math.prod(sizes)
    if isinstance(layer, TRANSPOSED) or not hasattr(layer, "kernel_size"):
        # Single positions are whitened, not patches.
        geometry = ([1] * len(sizes),) * 2
    else:
        geometry = layer.kernel_size, layer.strides
    return math.prod(
        math.ceil(
            each[0] / (twin.sampling_stride or deconv_ops.default_stride(*each))
        )
        for each in zip(sizes, *geometry, strict=True)
    )


def _positions(layer: Any, call: Call) -> int:
    return math.prod(_sizes(layer, call))


def _sizes(layer: Any, call: Call) -> list[int]:
    """Returns the sizes of the axes over which a kernel is applied."""
    is_transposed = isinstance(layer, TRANSPOSED)
    # Layers that are left as they are may have several outputs.
    tensor, *_ = keras.tree.flatten(
        call.inputs if is_transposed else call.outputs
    )
    shape = list(getattr(tensor, "shape", ()))
    first = getattr(layer, "data_format", None) == "channels_first"
    return shape[2:] if first else shape[1:-1]


def _channels(layer: Any) -> int:
    shape = layer.get_build_config()["input_shape"]
    first = getattr(layer, "data_format", None) == "channels_first"
    return int(shape[1 if first else -1])

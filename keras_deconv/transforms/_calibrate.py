"""Statistics of deconvolution layers from data alone."""

from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import Literal
from typing import TypeAlias
from typing import get_args

import numpy as np
from keras import ops

from keras_deconv._types import Tensor
from keras_deconv.layers import RunningStatistics
from keras_deconv.layers import Whitening
from keras_deconv.transforms._copy import copy_model
from keras_deconv.transforms._structure import check_model
from keras_deconv.transforms._structure import places

Average: TypeAlias = Literal["covariance", "deconv"]


def recalibrate(
    model: Any, batches: Iterable[Any], *, average: Average = "covariance"
) -> Any:
    """Estimates the moving mean and D of a deconvolved model again.

    What precise batch normalization is to `BatchNormalization`: moving
    averages lag behind the weights, and are replaced by exact averages over
    `batches`. While they are taken, each layer whitens by the statistics of
    the batch, as in training; the model is otherwise in inference mode, and
    no weight is trained. Layers that are not trainable keep their averages.

    Args:
        model: A built deconvolved model; it is left as it is.
        batches: An iterable of batches of inputs, or of tuples of inputs and
            targets, which are not used.
        average: `"covariance"`: D is the root of the covariance of all
            samples together. `"deconv"`: D is the mean of the D of all
            batches, which is what the moving average approaches.

    Returns:
        A copy of the model with other statistics.

    Raises:
        ValueError: If there is no batch, or `average` is unknown.
    """
    if average not in get_args(Average):
        raise ValueError(
            f"`average` must be one of {get_args(Average)}. "
            f"Received: average={average!r}"
        )
    check_model(model)
    inputs = _Inputs(batches, again=False)
    copy = copy_model(model)
    found = _statistics_of(copy, trainable_only=True)
    collected = _run(copy, found, inputs, in_training=True)
    for statistics, moments in collected:
        if average == "covariance":
            deconv = statistics.batch.root(
                ops.convert_to_tensor(moments.covariance)
            )
        else:
            deconv = moments.deconv
        statistics.assign(moments.mean, deconv)
    return copy


def warm_start(model: Any, batches: Iterable[Any]) -> None:
    """Sets statistics from data, and kernels so that predictions stay.

    The kernels become D^-1 of what they were, the biases take in the mean.

    Args:
        model: Its statistics are zero and the identity, and its layers have
            biases; it is changed.
        batches: As in `recalibrate`. Read twice if a layer whitens twice.
    """
    inputs = _Inputs(batches, again=True)
    found = _statistics_of(model)
    depth = max((order for _, _, order in found), default=-1)
    for order in range(depth + 1):
        now = [each for each in found if each[2] == order]
        for statistics, moments in _run(model, now, inputs, False):
            deconv = statistics.batch.root(
                ops.convert_to_tensor(moments.covariance)
            )
            statistics.assign(moments.mean, deconv)
            statistics.layer.absorb(statistics)


class _Moments:
    """Averages over batches, in float64: of covariance and mean, and of D.

    Batches are merged with Chan's formula, which centres each on its own
    mean first.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.batches = 0
        self.mean: Any = 0.0
        self.covariance: Any = 0.0
        self.deconv: Any = 0.0

    def add(self, rows: int, mean: Any, covariance: Any, deconv: Any) -> None:
        mean, covariance = map(_array, (mean, covariance))
        total = self.rows + rows
        share = rows / total
        step = mean - self.mean
        between = step[..., :, None] * step[..., None, :]
        self.covariance = (
            (1 - share) * self.covariance
            + share * covariance
            + (share * (1 - share) if self.rows else 0.0) * between
        )
        self.mean = self.mean + share * step
        self.rows = total
        if deconv is not None:
            self.batches += 1
            self.deconv = (
                self.deconv + (_array(deconv) - self.deconv) / self.batches
            )


class _Inputs:
    """Iterates over the inputs of batches.

    Args:
        batches: As in `recalibrate`.
        again: Whether that is done more than once.

    Raises:
        ValueError: If these are no batches.
    """

    def __init__(self, batches: Any, *, again: bool) -> None:
        if hasattr(batches, "shape"):
            raise ValueError(
                "Data must be an iterable of batches, such as a list of arrays "
                "or a data set. Received: one array of shape "
                f"{batches.shape}"
            )
        # A list is several inputs, as Keras has it; but from a loader of
        # PyTorch it is inputs and targets, as Keras has it too.
        is_loader = any(
            cls.__module__.startswith("torch.utils.data")
            for cls in type(batches).__mro__
        )
        self._pairs = (tuple, list) if is_loader else (tuple,)
        is_spent = again and iter(batches) is batches
        self._batches = list(batches) if is_spent else batches

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            yield batch[0] if isinstance(batch, self._pairs) else batch


def _statistics_of(
    model: Any, trainable_only: bool = False
) -> list[tuple[str, RunningStatistics, int]]:
    """Returns path and order of all statistics in built layers."""
    return [
        (place.path, statistics, order)
        for place in places(model)
        if isinstance(place.layer, Whitening) and place.layer.built
        if place.layer.trainable or not trainable_only
        for order, statistics in enumerate(place.layer.all_statistics())
    ]


def _run(
    model: Any,
    found: Iterable[tuple[str, RunningStatistics, int]],
    inputs: Iterable[Any],
    in_training: bool,
) -> list[tuple[RunningStatistics, _Moments]]:
    """Collects the moments of all inputs of some statistics."""
    collected = [(statistics, _Moments()) for _, statistics, _ in found]
    is_empty = True
    try:
        for statistics, moments in collected:
            statistics.observer = _observer(statistics, moments, in_training)
        for batch in inputs:
            is_empty = False
            model(batch, training=False)
    finally:
        for statistics, _ in collected:
            statistics.observer = None
    if is_empty:
        raise ValueError(
            "There must be at least one batch to estimate statistics from. "
            "Received: no batch"
        )
    # What no batch has reached stays as it was.
    return [(each, moments) for each, moments in collected if moments.rows]


def _observer(
    statistics: RunningStatistics, moments: _Moments, in_training: bool
) -> Any:
    def observe(inputs: Tensor) -> tuple[Tensor, Tensor]:
        rows, mean, covariance = statistics.batch.covariance(inputs)
        if in_training:
            value = mean, statistics.batch.root(covariance)
            moments.add(rows, mean, covariance, value[1])
            return value
        moments.add(rows, mean, covariance, None)
        return statistics.moving_values()

    return observe


def _array(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value), "float64")

"""Statistics of deconvolution layers from data alone."""

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Literal
from typing import TypeAlias
from typing import get_args

import numpy as np
from keras import ops

from keras_deconv._checks import check_choice
from keras_deconv._types import Tensor
from keras_deconv._warnings import warn
from keras_deconv.layers import RunningStatistics
from keras_deconv.layers import Whitening
from keras_deconv.transforms._copy import copy_model
from keras_deconv.transforms._structure import Address
from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import check_model
from keras_deconv.transforms._structure import places
from keras_deconv.transforms._trace import wrapped_calls

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

    Warns:
        UserWarning: If batches have statistics that are not finite, which
            are left out, or the model has no averages to replace.

    Raises:
        ValueError: If there is no batch, what is given is no batches,
            `average` is unknown, or the model is not built or cannot be
            rebuilt from its configuration.
    """
    check_choice("average", average, get_args(Average))
    check_model(model)
    inputs = _Inputs(batches, again=False)
    copy = copy_model(model)
    found = _statistics_of(copy, lambda place: place.layer.trainable)
    if not found:
        warn(
            f"Model '{model.name}' has no deconvolution layer that is "
            "trainable, and is copied: there are no averages to replace"
        )
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


def warm_start(
    model: Any, addresses: Container[Address], batches: Iterable[Any]
) -> None:
    """Sets statistics from data, and kernels so that predictions stay.

    The kernels become D^-1 of what they were, the biases take in the mean.

    Args:
        model: It is changed.
        addresses: Of the layers that it is for: their statistics are zero and
            the identity, and they have biases.
        batches: As in `recalibrate`. Read twice if a layer whitens twice.
    """
    found = _statistics_of(model, lambda place: place.address in addresses)
    depth = max((order for _, order in found), default=0)
    inputs = _Inputs(batches, again=depth > 0)
    for order in range(depth + 1):
        now = [each for each in found if each[1] == order]
        reached = _run(model, now, inputs, False)
        _warn_of_unreached(now, reached)
        for statistics, moments in reached:
            deconv = statistics.batch.root(
                ops.convert_to_tensor(moments.covariance)
            )
            statistics.assign(moments.mean, deconv)
            statistics.layer.absorb(statistics)


def _warn_of_unreached(found: Any, reached: Any) -> None:
    seen = {id(statistics) for statistics, _ in reached}
    left = [
        statistics.layer.name
        for statistics, _ in found
        if id(statistics) not in seen
    ]
    if left:
        warn(
            "Calibration data must reach every layer that is converted, in "
            "inference mode; D of the others is the identity until they are "
            f"trained. Received: {', '.join(left)}"
        )


class _Moments:
    """Averages over batches, in float64: of covariance and mean, and of D.

    Batches are merged with Chan's formula, which centres each on its own
    mean first. Those that are not finite are left out, and counted.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.left_out = 0
        self.batches = 0
        self.mean: Any = 0.0
        self.covariance: Any = 0.0
        self.deconv: Any = 0.0

    def add(self, rows: int, mean: Any, covariance: Any, deconv: Any) -> None:
        mean, covariance = map(_array, (mean, covariance))
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            self.left_out += 1
            return
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
        if not _are_batches(batches):
            raise ValueError(
                "Data must be an iterable of batches, such as a list of arrays "
                "or a data set. Received: "
                f"{_describe(batches)}"
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
    model: Any, is_meant: Callable[[Place], bool]
) -> list[tuple[RunningStatistics, int]]:
    """Returns all statistics in some built layers, and their order there."""
    return [
        (statistics, order)
        for place in places(model)
        if isinstance(place.layer, Whitening) and place.layer.built
        if is_meant(place)
        for order, statistics in enumerate(place.layer.all_statistics())
    ]


def _run(
    model: Any,
    found: Iterable[tuple[RunningStatistics, int]],
    inputs: Iterable[Any],
    in_training: bool,
) -> list[tuple[RunningStatistics, _Moments]]:
    """Collects the moments of all inputs of some statistics."""
    collected = [(statistics, _Moments()) for statistics, _ in found]
    is_empty = True
    try:
        for statistics, moments in collected:
            statistics.observer = _observer(statistics, moments, in_training)
        all_layers = [model, *(place.layer for place in places(model))]
        with wrapped_calls(all_layers, lambda layer, call: call):
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
    if left_out := max((each.left_out for _, each in collected), default=0):
        warn(
            "Batches must have finite statistics in every layer; those that "
            f"have not are left out. Received: {left_out} of them"
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


def _are_batches(value: Any) -> bool:
    if hasattr(value, "shape") or isinstance(value, Mapping | str | bytes):
        return False
    if _is_pair(value):
        return False  # Of inputs and targets, as `fit` takes them.
    # A `keras.utils.PyDataset` has no `__iter__`.
    return hasattr(value, "__iter__") or hasattr(value, "__getitem__")


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and any(
        len(getattr(each, "shape", (1, 1))) < 2 for each in value
    )


def _describe(value: Any) -> str:
    if _is_pair(value):
        return (
            "a tuple of inputs and targets; one such batch is [(inputs, "
            "targets)]"
        )
    if hasattr(value, "shape"):
        return f"one array of shape {value.shape}"
    if isinstance(value, Mapping):
        return f"one dict with the keys {list(value)}"
    return repr(value)


def _array(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value), "float64")

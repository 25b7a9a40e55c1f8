"""How white the inputs of deconvolution layers are, before and after D."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_deconv._types import Tensor
from keras_deconv.layers._statistics import RunningStatistics
from keras_deconv.layers._whitening import Whitening


@dataclasses.dataclass(frozen=True)
class Whiteness:
    """The covariance of what a layer whitens, and the D that whitens it.

    Attributes:
        name: Path of the layer by the names of layers, such as
            `"backbone/conv"`; the model's own name is left out.
        prefix: Prefix of the layer's weights, such as `"pointwise_"` for the
            second half of a separable convolution; else empty.
        covariance: `(matrices, F, F)` of a batch, ridge included, in squared
            units of the inputs. A layer that is called several times has as
            many matrices for every call.
        deconv: The moving D for each of them, `(matrices, F, F)`.
    """

    name: str
    prefix: str
    covariance: np.ndarray
    deconv: np.ndarray

    @property
    def whitened(self) -> np.ndarray:
        """`D covariance D`, `(matrices, F, F)`; the identity at best."""
        whitened: np.ndarray = self.deconv @ self.covariance @ self.deconv
        return whitened

    @property
    def condition(self) -> float:
        """Condition number of the covariance: see `condition_number`."""
        return condition_number(self.covariance)

    @property
    def distance(self) -> float:
        """Distance of the whitened covariance from the identity.

        The Frobenius norm of the difference over that of the identity, of
        all matrices together: the root mean square of what the eigenvalues
        differ from 1.
        """
        difference = self.whitened - np.eye(self.covariance.shape[-1])
        entries = np.prod(self.covariance.shape[:-1])
        return float(np.linalg.norm(difference) / np.sqrt(entries))


def measure_whiteness(model: Any, inputs: Any) -> list[Whiteness]:
    """Measures how white the inputs of all deconvolution layers are.

    The model runs in inference mode, on its moving averages, and none of its
    variables changes.

    Args:
        model: A built model, or a built deconvolution layer.
        inputs: One batch of inputs, as the model takes them.

    Returns:
        One for each of the statistics that the batch has reached, in the
        order of the layers.
    """
    found = [
        (name, statistics, _Recorder(statistics))
        for name, layer in deconv_layers(model)
        for statistics in layer.all_statistics()
    ]
    try:
        for _, statistics, recorder in found:
            statistics.observer = recorder
        model(inputs, training=False)
    finally:
        for _, statistics, _ in found:
            statistics.observer = None
    return [
        Whiteness(
            name,
            statistics.moving[0].name.removesuffix("moving_mean"),
            np.concatenate(recorder.covariances),
            np.concatenate(recorder.deconvs),
        )
        for name, statistics, recorder in found
        if recorder.covariances
    ]


def deconv_layers(
    model: Any, built: bool = True
) -> Iterator[tuple[str, Whitening]]:
    """Yields path and layer of every deconvolution layer, once each.

    Args:
        model: A model or a layer.
        built: Whether only those that are built.
    """
    seen = set()
    stack = [(model.name, "", model)]
    while stack:
        name, prefix, layer = stack.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if isinstance(layer, Whitening) and (layer.built or not built):
            yield name, layer
        below = layer._flatten_layers(include_self=False, recursive=False)
        stack += [
            (f"{prefix}{child.name}", f"{prefix}{child.name}/", child)
            for child in reversed(list(below))
        ]


def condition_number(matrices: np.ndarray) -> float:
    """Returns the largest condition number of `(matrices, F, F)`.

    Of each, the largest eigenvalue over the smallest. Infinite if rounding
    has left an eigenvalue that is not positive, NaN if an entry is not
    finite.
    """
    if not np.isfinite(matrices).all():
        return float("nan")
    values = np.linalg.eigvalsh(matrices)
    smallest, largest = values[..., 0], values[..., -1]
    if (smallest <= 0).any():
        return float("inf")
    return float((largest / smallest).max())


class _Recorder:
    """Notes covariance and moving D of every batch that it sees."""

    def __init__(self, statistics: RunningStatistics) -> None:
        self.statistics = statistics
        self.covariances: list[np.ndarray] = []
        self.deconvs: list[np.ndarray] = []

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        _, _, covariance = self.statistics.batch.covariance(inputs)
        mean, deconv = self.statistics.moving_values()
        self.covariances.append(_array(covariance))
        self.deconvs.append(_array(deconv))
        return mean, deconv


def _array(value: Tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value), "float64")

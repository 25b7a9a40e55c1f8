"""Weights from files, of layers with another schedule too."""

import warnings
from typing import Any

import keras

# What a file keeps of one set of statistics: the averages; with
# `freeze_after` also the step; with `update_every` also the last D, its
# variance and the moving one, before the step. Files of earlier versions have
# no variances there, and some have the last mean before the last D.
_AVERAGES, _WITH_STEP, _WITH_LAST = 2, 3, 6
_LENGTHS = 2, 3, 4, 5, 6


def load_weights(layer: Any, store: Any) -> None:
    """Gives a built layer the weights that a file keeps of it.

    `update_every` and `freeze_after` decide which weights a layer has next
    to kernel, bias and moving averages. A file of a layer with others loads:
    weights that this one lacks are left out. Where the last D or its
    variance is missing, the next training step computes them; a missing step
    is zero, with a warning.

    Args:
        layer: A deconvolution layer.
        store: Arrays under the names "0", "1", ..., in the order of
            `layer.weights`.

    Raises:
        ValueError: If weights are missing, left over or of other shapes;
            then no weight has changed.
    """
    values = _read(layer, store) if layer.built else None
    if values is None:
        # Keras says what it has expected.
        keras.layers.Layer.load_own_variables(layer, store)
        return
    for weight, value in zip(layer.weights, values, strict=True):
        if tuple(value.shape) != tuple(weight.shape):
            raise ValueError(
                f"The weight '{weight.name}' of layer '{layer.name}' has the "
                f"shape {tuple(weight.shape)}, which inputs and settings of "
                "blocks decide. Received: a file with the shape "
                f"{tuple(value.shape)}"
            )
    for weight, value in zip(layer.weights, values, strict=True):
        weight.assign(value)


def _read(layer: Any, store: Any) -> list[Any] | None:
    """Returns a value for each weight, or None if the file does not fit."""
    all_statistics = layer.all_statistics()
    weights = layer.weights
    kept = _count_kept(all_statistics[0])
    others = len(weights) - kept * len(all_statistics)
    stored, rest = divmod(len(store.keys()) - others, len(all_statistics))
    if rest or stored not in _LENGTHS:
        return None
    values = [store[f"{number}"] for number in range(len(store.keys()))]
    if stored == _AVERAGES < kept:
        warnings.warn(
            "The file keeps no training step: it was saved with "
            "update_every=1 and freeze_after=None. Its layers count from 0, "
            "and so start with a warm-up.",
            stacklevel=2,
        )
    found, values = values[:others], values[others:]
    for start in range(0, len(values), stored):
        found += _convert(values[start : start + stored], kept)
    return found


def _convert(values: list[Any], kept: int) -> list[Any]:
    """Returns what is kept of one set of statistics, as another is."""
    moving, last = values[:_AVERAGES], values[_AVERAGES:-1]
    step = values[-1:] if len(values) > _AVERAGES else [_zero()]
    if kept == _AVERAGES:
        return moving
    if kept == _WITH_STEP:
        return moving + step
    if len(values) < _WITH_LAST:
        # No variances, so that none of this D is used.
        deconv = (moving + last)[-1]
        last = [deconv, _zeros(deconv), _zeros(deconv)]
    return moving + last + step


def _count_kept(statistics: Any) -> int:
    if statistics.last is not None:
        return _WITH_LAST
    return _AVERAGES if statistics.step is None else _WITH_STEP


def _zeros(deconv: Any) -> Any:
    return keras.ops.zeros(deconv.shape[:1])


def _zero() -> Any:
    return keras.ops.zeros((), "int32")

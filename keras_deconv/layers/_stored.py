"""Weights from files, of layers with another schedule too."""

import itertools
from typing import Any
from typing import get_args

import keras
import numpy as np

from keras_deconv._types import BlockLayout
from keras_deconv._warnings import warn

# What a file keeps of one set of statistics: the averages; with
# `freeze_after` also the step; with `update_every` also the last D, its
# variance and the moving one, before the step. Files of earlier versions have
# no variances there, and some have the last mean before the last D. By their
# number, the ranks that these weights have.
_AVERAGES, _WITH_STEP, _WITH_LAST = 2, 3, 6
_RANKS = {
    2: (2, 3),
    3: (2, 3, 0),
    4: (2, 3, 3, 0),
    5: (2, 3, 2, 3, 0),
    6: (2, 3, 3, 1, 1, 0),
}


# Entry of a file beside the weights: which layout D is for, by its number.
_LAYOUT = "block_layout"
_LAYOUTS = get_args(BlockLayout)


def save_weights(layer: Any, store: Any) -> None:
    """Stores all weights of a layer, and the layout of its blocks.

    Another layout gives weights of the same shapes, for other features.

    Args:
        layer: A deconvolution layer.
        store: Takes arrays, by name.
    """
    # Dense and Conv store kernel and bias only; all weights must be stored.
    keras.layers.Layer.save_own_variables(layer, store)
    if _has_layout(layer):
        store[_LAYOUT] = np.uint8(_LAYOUTS.index(layer.block_layout))


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
        ValueError: If weights are missing, left over, of other shapes or for
            blocks of another layout; then no weight has changed.
    """
    if _LAYOUT in store and _has_layout(layer):
        layout = _LAYOUTS[int(store[_LAYOUT])]
        if layout != layer.block_layout:
            raise ValueError(
                f"Layer '{layer.name}' has blocks of the layout "
                f"{layer.block_layout!r}. Received: a file with the weights of "
                f"{layout!r} blocks, whose D is for other features"
            )
    names = set(store.keys()) - {_LAYOUT}
    stored = {name: store[name] for name in names}
    values = _read(layer, stored) if layer.built else None
    if values is None:
        # Keras says what it has expected.
        keras.layers.Layer.load_own_variables(layer, stored)
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


def _has_layout(layer: Any) -> bool:
    """Whether a layout makes a difference: one block is one in either."""
    return (
        layer.built
        and hasattr(layer, _LAYOUT)
        and any(each.blocks.count > 1 for each in layer.all_statistics())
    )


def _read(layer: Any, store: dict[str, Any]) -> list[Any] | None:
    """Returns a value for each weight, or None if the file does not fit."""
    all_kept = list(map(_count_kept, layer.all_statistics()))
    others = len(layer.weights) - sum(all_kept)
    values = [store[f"{number}"] for number in range(len(store))]
    found, values = values[:others], values[others:]
    all_stored = _count_stored(
        len(all_kept), [len(each.shape) for each in values]
    )
    if all_stored is None:
        return None
    if any(
        stored == _AVERAGES < kept
        for stored, kept in zip(all_stored, all_kept, strict=True)
    ):
        warn(
            "The file keeps no training step of some layers, in which D was "
            "new on every step. They count from 0, and so start with a "
            "warm-up."
        )
    for stored, kept in zip(all_stored, all_kept, strict=True):
        found += _convert(values[:stored], kept)
        values = values[stored:]
    return found


def _count_stored(statistics: int, ranks: list[int]) -> list[int] | None:
    """Returns how many of these weights are of each set of statistics.

    Those of a layer need not have the same number; their ranks leave but one
    way to divide them.
    """
    for numbers in itertools.product(_RANKS, repeat=statistics):
        if [rank for n in numbers for rank in _RANKS[n]] == ranks:
            return list(numbers)
    return None


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
    if statistics.batch_deconv is not None:
        return _WITH_LAST
    return _AVERAGES if statistics.step is None else _WITH_STEP


def _zeros(deconv: Any) -> Any:
    return keras.ops.zeros(deconv.shape[:1])


def _zero() -> Any:
    return keras.ops.zeros(())

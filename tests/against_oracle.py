"""Comparison of a whole layer with the oracle."""

import numpy as np
from keras import ops

import compare

# Of a layer under test: some of the old average is left in the new one.
MOMENTUM = 0.75


def settings_of(layer, *names):
    """Returns some attributes of a layer, by name."""
    return {name: getattr(layer, name) for name in names}


def parameters_of(layer, *names):
    """Returns some weights of a layer as arrays, None where it has none."""
    return [
        None if weight is None else ops.convert_to_numpy(weight)
        for weight in (getattr(layer, name) for name in names)
    ]


def check(layer, inputs, expected, plain_class):
    """Compares training, moving averages, inference and fold.

    Args:
        layer: A built layer with momentum `MOMENTUM`, not trained yet.
        inputs: One batch.
        expected: Takes means and D to use, or None for those of the batch;
            returns outputs, means and D.
        plain_class: Of what the layer folds to.
    """
    outputs, *statistics = expected(None)
    compare.assert_close(layer(inputs, training=True), outputs, 3e-5)
    weights = layer.non_trainable_weights
    for weight, value in zip(weights, statistics, strict=True):
        start = np.eye(value.shape[-1]) if value.ndim == 3 else 0
        wanted = MOMENTUM * start + (1 - MOMENTUM) * value
        # Whitened features have mean zero: measured against their unit.
        unit = max(np.abs(wanted).max(), 1)
        error = np.abs(ops.convert_to_numpy(weight) - wanted).max()
        assert error <= 3e-5 * unit
    moving = [ops.convert_to_numpy(weight) for weight in weights]
    outputs, *_ = expected(moving)
    compare.assert_close(layer(inputs, training=False), outputs)
    plain = layer.fold()
    assert type(plain) is plain_class
    compare.assert_close(plain(inputs), outputs)

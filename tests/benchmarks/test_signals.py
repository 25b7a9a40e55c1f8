import importlib

import keras
import numpy as np
import pytest


def test_root_mean_square_of_each_layer():
    triple = keras.layers.Rescaling(-3.0, name="triple")
    halve = keras.layers.Rescaling(0.5, name="halve")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, halve(triple(inputs)))
    signals = importlib.import_module("signals")
    found = signals.signals(model, np.array([[3.0, 4.0]]), training=True)
    first = 3 * np.sqrt(12.5)
    assert found.pop("of layer") == "triple"
    assert found.pop("its number") == "1 of 2"
    assert found == pytest.approx(
        {"first layer": first, "last layer": first / 2, "largest": first}
    )

import keras
import pytest

import keras_deconv
import networks
from keras_deconv import PRESETS
from keras_deconv import DeconvConv2D
from keras_deconv import deconvolutionize


@pytest.mark.parametrize("name", PRESETS)
def test_preset_sets_what_each_layer_has(name):
    twin = deconvolutionize(networks.sequential(), preset=name)
    conv = networks.layer_named(twin, "second")
    head = networks.layer_named(twin, "head")
    for setting, value in PRESETS[name].items():
        assert getattr(conv, setting) == value
        if setting not in {"block_size", "sampling_stride"}:
            assert getattr(head, setting) == value


@pytest.mark.parametrize("name", [None, *PRESETS])
def test_dense_layers_keep_their_blocks(name):
    """Wide ones do not train with narrow blocks."""
    twin = deconvolutionize(networks.sequential(), preset=name)
    assert networks.layer_named(twin, "head").block_size == 512
    twin = deconvolutionize(networks.sequential(), preset=name, block_size=2)
    assert networks.layer_named(twin, "head").block_size == 2


def mobile():
    """A block of a MobileNet, with the names that these have."""
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 1, name="expand")(inputs)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    return keras.Model(inputs, keras.layers.Conv2D(4, 1, name="project")(x))


def iterations(**options):
    twin = deconvolutionize(mobile(), **options)
    return [layer.num_iterations for layer in twin.layers[1:]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [5, 1, 1]),
        ({"preset": "fast"}, [5, 1, 1]),
        ({"preset": "paper"}, [5, 5, 5]),
        ({"num_iterations": 3}, [3, 3, 3]),
        ({"rules": [("project", {"num_iterations": 2})]}, [5, 1, 2]),
        ({"rules": [("project", {"block_size": 2})]}, [5, 1, 1]),
        ({"method": "minimax"}, [5, 5, 5]),
        ({"rules": [("project", {"method": "minimax"})]}, [5, 1, 5]),
    ],
)
def test_depthwise_layers_and_projections_have_one_step(options, expected):
    """Unless they are told otherwise."""
    assert iterations(**options) == expected


def test_settings_go_before_the_preset():
    twin = deconvolutionize(
        networks.sequential(), preset="fast", update_every=7
    )
    conv = networks.layer_named(twin, "second")
    assert conv.update_every == 7
    assert conv.block_size == PRESETS["fast"]["block_size"]


def test_presets_list_the_same_settings():
    """One preset undoes the other, so both have to name all that differs."""
    assert len({frozenset(settings) for settings in PRESETS.values()}) == 1
    assert set(PRESETS["paper"]) <= DeconvConv2D.setting_names()


def test_defaults_are_those_of_the_fast_preset():
    for cls in (DeconvConv2D, keras_deconv.DeconvConv3D):
        layer = cls(4, 3)
        for setting, value in PRESETS["fast"].items():
            assert getattr(layer, setting) == value


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match=r"`preset` must be one of.*'quick'"):
        deconvolutionize(
            keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]),
            preset="quick",
        )

"""The plan of each network says what the paper's table means."""

import importlib

import keras
import pytest

from keras_deconv import models
from keras_deconv import plan

NETWORKS = set(models.__all__) - {"initialize_like_torch"}
# Steps for the first convolution, which is frozen where it has more than 5.
STEM = dict.fromkeys(NETWORKS, 10) | {
    "resnet18": 5,
    "densenet121": 5,
    "vgg11": 15,
    "vgg13": 15,
    "vgg16": 15,
    "senet18": 15,
    "imagenet_vgg11": 15,
    "imagenet_resnet18": 15,
    "imagenet_resnet50": 15,
    "imagenet_densenet121": 15,
    "deeplabv3_resnet50": 15,
}


@pytest.fixture
def settings_for():
    return importlib.import_module("_paper").settings_for


def entries(name, settings):
    with keras.StatelessScope(initialize_variables=False):
        network = getattr(models, name)(input_shape=(32, 32, 3))
    return network, plan(network, **settings).entries


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="a plan is the same on every backend, and slow for large networks",
)
@pytest.mark.parametrize("name", sorted(NETWORKS - {"efficientnet_b0"}))
def test_plan(settings_for, name):
    network, found = entries(name, settings_for(name))
    for entry in found:
        if entry.kind == "BatchNormalization":
            assert entry.action == "remove"
            continue
        assert entry.action == "deconvolve"
        layer = network.get_layer(entry.path)
        assert dict(entry.settings) == expected(name, layer)


def expected(name, layer):
    """Returns the settings of one layer, in words of the paper's code."""
    steps, block = 5, 44 if name == "pnasnet_a" else 64
    if layer.name == "stem":
        steps = STEM[name]
    elif isinstance(layer, keras.layers.Dense):
        # 512 is the default of the layer, and goes without saying.
        block = 512 if name == "pnasnet_a" else None
        block = 64 if name.startswith("imagenet") else block
    elif name == "deeplabv3_resnet50" and layer.name == "head":
        block = 256
    elif name == "resnext29_32x4d" and layer.groups > 1:
        steps = 3
    elif name == "mobilenet_v2" and layer.name.endswith("project"):
        steps = 1
        expansion = 1 if layer.name == "block1_project" else 6
        block = layer.input.shape[-1] // expansion
    settings = {"num_iterations": steps, "update_every": 1}
    if not isinstance(layer, keras.layers.Dense):
        settings["sampling_stride"] = 3
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        settings["num_iterations"] = 1 if name == "mobilenet_v2" else 5
    elif block is not None:
        settings["block_size"] = block
    if steps >= 10:
        settings["freeze_after"] = 200
    return settings


def test_plan_of_efficientnet(settings_for):
    network, found = entries("efficientnet_b0", settings_for("efficientnet_b0"))
    acted = {
        entry.path: dict(entry.settings)
        for entry in found
        if entry.action == "deconvolve"
    }
    common = {"update_every": 1}
    assert acted == {
        "stem": common
        | {
            "num_iterations": 10,
            "block_size": 64,
            "sampling_stride": 3,
            "freeze_after": 200,
        },
        "head": common | {"num_iterations": 5, "block_size": 320},
    }
    (removed,) = [entry.path for entry in found if entry.action == "remove"]
    assert network.get_layer(removed).input is network.get_layer("stem").output


def test_other_networks_are_refused(settings_for):
    with pytest.raises(ValueError, match=r"must be one of .*'alexnet'"):
        settings_for("alexnet")

"""The networks are those of the literature, to the last parameter."""

import math

import keras
import numpy as np
import pytest
from keras import layers

from keras_deconv import deconvolutionize
from keras_deconv import fold
from keras_deconv import models
from keras_deconv.layers import Whitening

# Trainable parameters, with ten classes.
CIFAR = {
    "densenet121": 6_956_298,
    "dpn92": 34_236_634,
    "efficientnet_b0": 2_912_089,
    "mobilenet_v2": 2_296_922,
    "pnasnet_a": 130_646,
    "preact_resnet18": 11_171_274,
    "resnet18": 11_173_962,
    "resnext29_32x4d": 4_774_218,
    "senet18": 11_260_354,
    "vgg11": 9_231_114,
    "vgg13": 9_416_010,
    "vgg16": 14_728_266,
}
# With 1000 classes; the last with 19.
LARGE = {
    "imagenet_densenet121": 7_978_856,
    "imagenet_resnet18": 11_689_512,
    "imagenet_resnet50": 25_557_032,
    "imagenet_vgg11": 132_868_840,
    "deeplabv3_resnet50": 39_638_355,
}


def outline(name, **arguments):
    """Returns a network whose weights have no values: they take long."""
    with keras.StatelessScope(initialize_variables=False):
        return getattr(models, name)(**arguments)


def count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


@pytest.mark.parametrize("name", CIFAR)
def test_networks_for_cifar(name):
    network = outline(name)
    assert network.name == name
    assert count(network.trainable_weights) == CIFAR[name]
    assert network.input_shape == (None, 32, 32, 3)
    assert network.output_shape == (None, 10)
    for norm in network.layers:
        if isinstance(norm, layers.BatchNormalization):
            assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)


@pytest.mark.parametrize("name", LARGE)
def test_networks_for_large_images(name):
    network = outline(name)
    assert network.name == name
    assert count(network.trainable_weights) == LARGE[name]
    segments = name.startswith("deeplab")
    side, outputs = (480, (480, 480, 19)) if segments else (224, (1000,))
    assert network.input_shape == (None, side, side, 3)
    assert network.output_shape == (None, *outputs)


def test_every_network_is_counted():
    assert {*CIFAR, *LARGE, "initialize_like_torch"} == set(models.__all__)


@pytest.mark.parametrize("name", ["resnet18", "deeplabv3_resnet50"])
def test_takes_other_classes_and_shapes(name):
    network = outline(name, num_classes=3, input_shape=(33, 24, 1))
    assert network.input_shape == (None, 33, 24, 1)
    sides = (33, 24) if name.startswith("deeplab") else ()
    assert network.output_shape == (None, *sides, 3)


def test_last_map_of_deeplab_has_an_eighth_of_the_side():
    network = outline("deeplabv3_resnet50", input_shape=(64, 80, 3))
    pyramid = [
        layer
        for layer in network.layers
        if isinstance(layer, layers.Conv2D) and layer.dilation_rate != (1, 1)
    ]
    rates = [layer.dilation_rate[0] for layer in pyramid]
    # The first block of a stage has the dilation of the stage before.
    assert rates == [*[2] * 5, *[2], *[4] * 2, 12, 24, 36]
    assert {layer.output.shape[1:3] for layer in pyramid} == {(8, 10)}


def test_last_normalization_before_the_pooling():
    network = outline("preact_resnet18")
    pooling = network.layers[-2]
    assert isinstance(pooling, layers.GlobalAveragePooling2D)
    assert isinstance(network.layers[-3], layers.BatchNormalization)


BACKEND = keras.backend.backend()
# What is tried every day, of what takes minutes in all.
QUICK = {
    "torch": CIFAR.keys() - {"densenet121", "dpn92", "efficientnet_b0"},
    "tensorflow": {"vgg11", "pnasnet_a"},
    "jax": set(),
}[BACKEND]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in CIFAR
    ],
)
def test_trains_and_folds(name, rng):
    # VGG has five poolings.
    side = 32 if name.startswith("vgg") else 8
    network = getattr(models, name)(input_shape=(side, side, 3))
    # The paper's settings for small batches, and small blocks to be fast.
    twin = deconvolutionize(
        network, block_size=4, num_iterations=2, epsilon=1e-2
    )
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    for layer in twin.layers:
        assert not isinstance(layer, layers.BatchNormalization)
        assert isinstance(layer, Whitening) or not isinstance(layer, kinds)
    twin.compile(
        keras.optimizers.SGD(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=BACKEND != "jax",
    )
    images = rng.normal(size=(4, side, side, 3)).astype("float32")
    loss = twin.train_on_batch(images, np.arange(4))
    assert np.isfinite(loss)
    folded = fold(twin)
    assert not any(isinstance(layer, Whitening) for layer in folded.layers)
    expected, outputs = (
        model.predict_on_batch(images) for model in (twin, folded)
    )
    assert np.all(np.isfinite(expected))
    assert np.max(np.abs(outputs - expected)) <= 1e-5 * np.max(np.abs(expected))

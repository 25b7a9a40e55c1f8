"""The networks are those of the literature, to the last parameter."""

import math

import keras
import pytest

from keras_deconv import models

PARAMETERS = {
    models.resnet18: 11_173_962,
    models.vgg11: 9_231_114,
    models.vgg13: 9_416_010,
    models.vgg16: 14_728_266,
}


@pytest.mark.parametrize(
    "build", PARAMETERS, ids=[build.__name__ for build in PARAMETERS]
)
def test_trainable_parameters_for_ten_classes(build):
    model = build()
    counts = [math.prod(weight.shape) for weight in model.trainable_weights]
    assert sum(counts) == PARAMETERS[build]
    assert model.output_shape == (None, 10)
    assert model.name == build.__name__


def test_takes_other_classes_and_shapes():
    model = models.resnet18(num_classes=3, input_shape=(16, 24, 1))
    assert model.input_shape == (None, 16, 24, 1)
    assert model.output_shape == (None, 3)


def test_every_network_is_counted():
    assert {build.__name__ for build in PARAMETERS} == set(models.__all__)
    assert isinstance(models.vgg11(), keras.Model)

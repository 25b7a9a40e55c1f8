"""VGG, for images of 32 x 32 and of 224 x 224.

"Very Deep Convolutional Networks for Large-Scale Image Recognition"
(Simonyan and Zisserman, ICLR 2015), with batch normalization; for small
images with one dense layer, as is usual on CIFAR.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_deconv.models._blocks import conv_norm_relu
from keras_deconv.models._blocks import image_input

# Filters of the convolutions; 0 stands for a max pooling.
_VGG11 = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
_VGG13 = (64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
_VGG16 = (
    *(64, 64, 0, 128, 128, 0, 256, 256, 256, 0),
    *(512, 512, 512, 0, 512, 512, 512, 0),
)


def vgg11(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns VGG11 with batch normalization; its outputs are logits."""
    return _vgg(_VGG11, num_classes, input_shape, "vgg11")


def vgg13(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns VGG13 with batch normalization; its outputs are logits."""
    return _vgg(_VGG13, num_classes, input_shape, "vgg13")


def vgg16(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns VGG16 with batch normalization; its outputs are logits."""
    return _vgg(_VGG16, num_classes, input_shape, "vgg16")


def imagenet_vgg11(
    num_classes: int = 1000, input_shape: tuple[int, int, int] = (224, 224, 3)
) -> keras.Model:
    """Returns VGG11 with batch normalization and three dense layers.

    Its outputs are logits.
    """
    inputs = image_input(input_shape)
    x = layers.Flatten()(_features(inputs, _VGG11))
    for _ in range(2):
        x = layers.Dense(4096, activation="relu")(x)
        x = layers.Dropout(0.5)(x)
    logits = layers.Dense(num_classes, name="head")(x)
    return keras.Model(inputs, logits, name="imagenet_vgg11")


def _vgg(
    stages: Sequence[int],
    num_classes: int,
    input_shape: tuple[int, int, int],
    name: str,
) -> keras.Model:
    inputs = image_input(input_shape)
    x = layers.Flatten()(_features(inputs, stages))
    logits = layers.Dense(num_classes, name="head")(x)
    return keras.Model(inputs, logits, name=name)


def _features(x: Any, stages: Sequence[int]) -> Any:
    name: str | None = "stem"
    for filters in stages:
        if filters:
            x = conv_norm_relu(x, filters, 3, use_bias=True, name=name)
            name = None
        else:
            x = layers.MaxPooling2D()(x)
    return x

"""VGG for images of 32 x 32.

"Very Deep Convolutional Networks for Large-Scale Image Recognition"
(Simonyan and Zisserman, ICLR 2015), with batch normalization and one dense
layer, as is usual on CIFAR.
"""

from collections.abc import Sequence

import keras
from keras import layers

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


def _vgg(
    stages: Sequence[int],
    num_classes: int,
    input_shape: tuple[int, int, int],
    name: str,
) -> keras.Model:
    inputs = keras.Input(input_shape)
    x = inputs
    for filters in stages:
        if filters:
            x = layers.Conv2D(filters, 3, padding="same")(x)
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
            x = layers.ReLU()(x)
        else:
            x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(num_classes)(x), name=name)

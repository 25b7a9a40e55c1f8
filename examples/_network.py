"""The plain networks that the examples train."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


def build_network(
    input_shape: tuple[int, ...],
    classes: int,
    widths: Sequence[int],
) -> keras.Model:
    """Builds a VGG-style network with batch normalization.

    Every width stands for two convolutions of 3 by 3 and one max pooling, so
    three widths make six convolution layers.

    The averages of batch normalization follow the training with momentum 0.9
    (PyTorch's default), not Keras' 0.99: the runs are short, and averages
    that lag behind would speak against batch normalization.
    """
    model = keras.Sequential([keras.Input(input_shape)])
    for width in widths:
        for _ in range(2):
            model.add(layers.Conv2D(width, 3, padding="same", use_bias=False))
            model.add(layers.BatchNormalization(momentum=0.9))
            model.add(layers.ReLU())
        model.add(layers.MaxPooling2D())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(classes))
    return model


def build_residual_network(
    input_shape: tuple[int, ...],
    classes: int,
    widths: Sequence[int],
) -> keras.Model:
    """Builds a residual network with batch normalization.

    One convolution of 3 by 3, then for every width one residual block of
    two (He et al., CVPR 2016); from the second width on it halves the image,
    and its shortcut is a convolution of 1 by 1.
    """
    inputs = keras.Input(input_shape)
    x = layers.ReLU()(_convolve(inputs, widths[0], 3))
    for index, width in enumerate(widths):
        stride = 2 if index else 1
        shortcut = x if stride == 1 else _convolve(x, width, 1, stride)
        x = layers.ReLU()(_convolve(x, width, 3, stride))
        x = layers.Add()([_convolve(x, width, 3), shortcut])
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(x))


def _convolve(x: Any, width: int, kernel_size: int, stride: int = 1) -> Any:
    """Returns a convolution and its normalization."""
    x = layers.Conv2D(
        width, kernel_size, stride, padding="same", use_bias=False
    )(x)
    return layers.BatchNormalization(momentum=0.9)(x)


NETWORKS: Mapping[str, Callable[..., keras.Model]] = {
    "vgg": build_network,
    "residual": build_residual_network,
}

"""The plain network that the examples train."""

from collections.abc import Sequence

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

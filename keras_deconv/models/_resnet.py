"""ResNet for images of 32 x 32.

"Deep Residual Learning for Image Recognition" (He et al., CVPR 2016), with
a first convolution of 3 x 3 and without the first pooling, as is usual on
CIFAR.
"""

from typing import Any

import keras
from keras import layers


def resnet18(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns ResNet18; its outputs are logits."""
    inputs = keras.Input(input_shape)
    x = layers.ReLU()(_conv(inputs, 64, 3))
    for filters, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        x = _basic_block(x, filters, stride)
        x = _basic_block(x, filters, 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(num_classes)(x), name="resnet18")


def _basic_block(x: Any, filters: int, stride: int) -> Any:
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _conv(x, filters, 1, stride)
    x = layers.ReLU()(_conv(x, filters, 3, stride))
    x = layers.Add()([_conv(x, filters, 3), shortcut])
    return layers.ReLU()(x)


def _conv(x: Any, filters: int, kernel_size: int, stride: int = 1) -> Any:
    """Returns a convolution and its normalization, padded as in torch."""
    if kernel_size == 3 and stride == 2:
        x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

"""PNASNet for images of 32 x 32.

After "Progressive Neural Architecture Search" (Liu et al., ECCV 2018): the
smallest of the cells that are usual on CIFAR, a 7x7 depthwise convolution
beside a max pooling.
"""

from typing import Any

import keras
from keras import layers

from keras_deconv.models._blocks import batch_norm
from keras_deconv.models._blocks import classifier
from keras_deconv.models._blocks import conv_norm
from keras_deconv.models._blocks import conv_norm_relu
from keras_deconv.models._blocks import depthwise_conv
from keras_deconv.models._blocks import image_input
from keras_deconv.models._blocks import max_pool


def pnasnet_a(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns PNASNet of cells A, 44 channels; its outputs are logits."""
    inputs = image_input(input_shape)
    x = conv_norm_relu(inputs, 44, 3, name="stem")
    x = _cells(x, 6)
    x = _cells(_reduction_cell(x), 6)
    x = _cells(_reduction_cell(x), 6)
    return classifier(inputs, x, num_classes, "pnasnet_a")


def _cells(x: Any, count: int) -> Any:
    for _ in range(count):
        branch = batch_norm(depthwise_conv(x, 7))
        pooled = layers.MaxPooling2D(3, 1, "same")(x)
        x = layers.ReLU()(layers.Add()([branch, pooled]))
    return x


def _reduction_cell(x: Any) -> Any:
    """Returns twice the channels at half the side."""
    branch = batch_norm(depthwise_conv(x, 7, 2, multiplier=2))
    pooled = conv_norm(max_pool(x), 2 * x.shape[-1], 1)
    return layers.ReLU()(layers.Add()([branch, pooled]))

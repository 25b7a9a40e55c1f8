"""MobileNetV2 for images of 32 x 32.

"MobileNetV2: Inverted Residuals and Linear Bottlenecks" (Sandler et al., CVPR
2018), with strides for small images, and with a shortcut around every block
that keeps the side of its map, as is usual on CIFAR.
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
from keras_deconv.models._blocks import shortcut

# Expansion, filters, blocks, and stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns MobileNetV2; its outputs are logits.

    The last convolutions of its blocks are "block1_project", ...,
    "block17_project".
    """
    inputs = image_input(input_shape)
    x = conv_norm_relu(inputs, 32, 3, name="stem")
    block = 0
    for expansion, filters, depth, stride in _STAGES:
        for each in (stride, *(1,) * (depth - 1)):
            block += 1
            name = f"block{block}_project"
            branch = inverted_bottleneck(x, filters, expansion, each, name)
            if each == 1:
                branch = layers.Add()([branch, shortcut(x, filters)])
            x = branch
    x = conv_norm_relu(x, 1280, 1)
    return classifier(inputs, x, num_classes, "mobilenet_v2")


def inverted_bottleneck(
    x: Any, filters: int, expansion: int, stride: int, name: str | None = None
) -> Any:
    """Returns the branch that expands, filters each channel, and projects.

    `name` is that of the projection.
    """
    x = conv_norm_relu(x, expansion * x.shape[-1], 1)
    x = layers.ReLU()(batch_norm(depthwise_conv(x, 3, stride)))
    return conv_norm(x, filters, 1, name=name)

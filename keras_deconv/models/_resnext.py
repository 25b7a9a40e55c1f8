"""ResNeXt for images of 32 x 32.

"Aggregated Residual Transformations for Deep Neural Networks" (Xie et al.,
CVPR 2017): bottlenecks whose 3x3 convolution has 32 groups. The first
convolution is 1x1.
"""

from typing import Any

import keras
from keras import layers

from keras_deconv.models._blocks import bottleneck
from keras_deconv.models._blocks import classifier
from keras_deconv.models._blocks import conv_norm_relu
from keras_deconv.models._blocks import image_input
from keras_deconv.models._blocks import shortcut

_GROUPS = 32


def resnext29_32x4d(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns ResNeXt29, 32 groups of 4 channels; its outputs are logits."""
    inputs = image_input(input_shape)
    x = conv_norm_relu(inputs, 64, 1, name="stem")
    for group_width, stride in ((4, 1), (8, 2), (16, 2)):
        for each in (stride, 1, 1):
            x = _block(x, group_width * _GROUPS, each)
    return classifier(inputs, x, num_classes, "resnext29_32x4d")


def _block(x: Any, width: int, stride: int) -> Any:
    branch = bottleneck(x, width, 2 * width, stride, groups=_GROUPS)
    x = layers.Add()([branch, shortcut(x, 2 * width, stride)])
    return layers.ReLU()(x)

"""ResNet, for images of 32 x 32 and of 224 x 224.

"Deep Residual Learning for Image Recognition" (He et al., CVPR 2016); for
small images with a first convolution of 3 x 3 and without the first pooling,
as is usual on CIFAR. In a bottleneck the 3 x 3 convolution has the stride.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_deconv.models._blocks import bottleneck
from keras_deconv.models._blocks import classifier
from keras_deconv.models._blocks import conv_norm
from keras_deconv.models._blocks import conv_norm_relu
from keras_deconv.models._blocks import image_input
from keras_deconv.models._blocks import max_pool
from keras_deconv.models._blocks import shortcut


def resnet18(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns ResNet18 for small images; its outputs are logits."""
    inputs = image_input(input_shape)
    x = conv_norm_relu(inputs, 64, 3, name="stem")
    x = _stages(x, _basic_block, (2, 2, 2, 2))
    return classifier(inputs, x, num_classes, "resnet18")


def imagenet_resnet18(
    num_classes: int = 1000, input_shape: tuple[int, int, int] = (224, 224, 3)
) -> keras.Model:
    """Returns ResNet18; its outputs are logits."""
    inputs = image_input(input_shape)
    x = _stages(large_stem(inputs), _basic_block, (2, 2, 2, 2))
    return classifier(inputs, x, num_classes, "imagenet_resnet18")


def imagenet_resnet50(
    num_classes: int = 1000, input_shape: tuple[int, int, int] = (224, 224, 3)
) -> keras.Model:
    """Returns ResNet50; its outputs are logits."""
    inputs = image_input(input_shape)
    x = resnet50_features(inputs)
    return classifier(inputs, x, num_classes, "imagenet_resnet50")


def resnet50_features(inputs: Any, dilated_stages: int = 0) -> Any:
    """Returns the last map of ResNet50, 2048 channels.

    The last `dilated_stages` stages dilate their kernels in place of a
    stride: with 2 the map has an eighth of the side of the image, not a
    thirty-second.
    """
    stem = large_stem(inputs)
    return _stages(stem, _bottleneck_block, (3, 4, 6, 3), dilated_stages)


def large_stem(inputs: Any) -> Any:
    """Returns the first layers for large images, a quarter of their side."""
    return max_pool(conv_norm_relu(inputs, 64, 7, 2, name="stem"))


def _stages(
    x: Any,
    block: Callable[..., Any],
    depths: Sequence[int],
    dilated_stages: int = 0,
) -> Any:
    dilation = 1
    for stage, depth in enumerate(depths):
        filters, stride = 64 * 2**stage, min(stage, 1) + 1
        last_dilation = dilation
        if stage >= len(depths) - dilated_stages:
            dilation, stride = dilation * stride, 1
        # A stride would have thinned out the outputs of the first block, not
        # its inputs.
        x = block(x, filters, stride, last_dilation)
        for _ in range(depth - 1):
            x = block(x, filters, 1, dilation)
    return x


def _basic_block(x: Any, filters: int, stride: int, dilation: int) -> Any:
    branch = conv_norm_relu(x, filters, 3, stride, dilation=dilation)
    branch = conv_norm(branch, filters, 3)
    x = layers.Add()([branch, shortcut(x, filters, stride)])
    return layers.ReLU()(x)


def _bottleneck_block(x: Any, filters: int, stride: int, dilation: int) -> Any:
    branch = bottleneck(x, filters, 4 * filters, stride, dilation=dilation)
    x = layers.Add()([branch, shortcut(x, 4 * filters, stride)])
    return layers.ReLU()(x)

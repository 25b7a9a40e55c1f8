"""DenseNet, for images of 32 x 32 and of 224 x 224.

"Densely Connected Convolutional Networks" (Huang et al., CVPR 2017): 121
layers of growth 32, each behind a 1x1 convolution, half of the channels kept
between blocks.
"""

from typing import Any

import keras
from keras import layers

from keras_deconv.models._blocks import batch_norm
from keras_deconv.models._blocks import classifier
from keras_deconv.models._blocks import conv
from keras_deconv.models._blocks import conv_norm
from keras_deconv.models._blocks import image_input
from keras_deconv.models._resnet import large_stem

_DEPTHS = (6, 12, 24, 16)
_GROWTH = 32


def densenet121(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns DenseNet121 for small images; its outputs are logits."""
    inputs = image_input(input_shape)
    x = _features(conv(inputs, 64, 3, name="stem"))
    return classifier(inputs, x, num_classes, "densenet121")


def imagenet_densenet121(
    num_classes: int = 1000, input_shape: tuple[int, int, int] = (224, 224, 3)
) -> keras.Model:
    """Returns DenseNet121; its outputs are logits."""
    inputs = image_input(input_shape)
    x = _features(large_stem(inputs))
    return classifier(inputs, x, num_classes, "imagenet_densenet121")


def _features(x: Any) -> Any:
    for block, depth in enumerate(_DEPTHS):
        if block > 0:
            x = _transition(x)
        for _ in range(depth):
            x = _dense_layer(x)
    return layers.ReLU()(batch_norm(x))


def _dense_layer(x: Any) -> Any:
    new = layers.ReLU()(batch_norm(x))
    new = layers.ReLU()(conv_norm(new, 4 * _GROWTH, 1))
    return layers.Concatenate()([x, conv(new, _GROWTH, 3)])


def _transition(x: Any) -> Any:
    x = conv(layers.ReLU()(batch_norm(x)), x.shape[-1] // 2, 1)
    return layers.AveragePooling2D(2)(x)

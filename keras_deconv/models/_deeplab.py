"""DeepLabV3 for segmentation.

"Rethinking Atrous Convolution for Semantic Image Segmentation" (Chen et al.,
2017), on a ResNet50 whose last two stages are dilated.
"""

from typing import Any

import keras
from keras import layers
from keras import ops

from keras_deconv.models._blocks import conv
from keras_deconv.models._blocks import conv_norm_relu
from keras_deconv.models._blocks import image_input
from keras_deconv.models._resnet import resnet50_features

_FILTERS = 256


def deeplabv3_resnet50(
    num_classes: int = 19, input_shape: tuple[int, int, int] = (480, 480, 3)
) -> keras.Model:
    """Returns DeepLabV3; its outputs are logits of every pixel."""
    inputs = image_input(input_shape)
    x = _pyramid(resnet50_features(inputs, dilated_stages=2))
    x = conv_norm_relu(x, _FILTERS, 3)
    x = conv(x, num_classes, 1, use_bias=True, name="head")
    logits = ops.image.resize(x, input_shape[:2], interpolation="bilinear")
    return keras.Model(inputs, logits, name="deeplabv3_resnet50")


def _pyramid(x: Any) -> Any:
    """Returns what is seen around each position, near and far."""
    sizes = [conv_norm_relu(x, _FILTERS, 1)]
    for rate in (12, 24, 36):
        sizes.append(conv_norm_relu(x, _FILTERS, 3, dilation=rate))
    everything = layers.GlobalAveragePooling2D(keepdims=True)(x)
    everything = conv_norm_relu(everything, _FILTERS, 1)
    sizes.append(layers.UpSampling2D(x.shape[1:3])(everything))
    x = conv_norm_relu(layers.Concatenate()(sizes), _FILTERS, 1)
    return layers.Dropout(0.5)(x)

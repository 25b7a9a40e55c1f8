"""EfficientNet for images of 32 x 32.

"EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
(Tan and Le, ICML 2019), in the form that the paper's experiments use: 3x3
kernels and rectified linear units throughout, and gates on the outputs of
blocks.
"""

from typing import Any

import keras
from keras import layers

from keras_deconv.models._blocks import classifier
from keras_deconv.models._blocks import conv_norm_relu
from keras_deconv.models._blocks import image_input
from keras_deconv.models._blocks import shortcut
from keras_deconv.models._blocks import squeeze_excite
from keras_deconv.models._mobilenet_v2 import inverted_bottleneck

# Expansion, filters, blocks, and stride of the first block.
_STAGES = (
    (1, 16, 1, 2),
    (6, 24, 2, 1),
    (6, 40, 2, 2),
    (6, 80, 3, 2),
    (6, 112, 3, 1),
    (6, 192, 4, 2),
    (6, 320, 1, 2),
)


def efficientnet_b0(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns EfficientNetB0; its outputs are logits."""
    inputs = image_input(input_shape)
    x = conv_norm_relu(inputs, 32, 3, name="stem")
    for expansion, filters, depth, stride in _STAGES:
        for each in (stride, *(1,) * (depth - 1)):
            x = _block(x, filters, expansion, each)
    return classifier(inputs, x, num_classes, "efficientnet_b0")


def _block(x: Any, filters: int, expansion: int, stride: int) -> Any:
    branch = inverted_bottleneck(x, filters, expansion, stride)
    # With a stride, what is gated is added to what is not.
    around = shortcut(x, filters) if stride == 1 else branch
    return layers.Add()([squeeze_excite(branch), around])

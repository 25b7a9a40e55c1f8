"""Dual path network for images of 32 x 32.

"Dual Path Networks" (Chen et al., NeurIPS 2017): in each block some channels
are added to those that came before, as in ResNet, and some are put beside
them, as in DenseNet.
"""

from typing import Any

import keras
from keras import layers

from keras_deconv.models._blocks import bottleneck
from keras_deconv.models._blocks import classifier
from keras_deconv.models._blocks import conv_norm
from keras_deconv.models._blocks import conv_norm_relu
from keras_deconv.models._blocks import image_input

# Width of the bottleneck, channels that are added, channels that are put
# beside, blocks, and stride of the first block.
_DPN92 = (
    (96, 256, 16, 3, 1),
    (192, 512, 32, 4, 2),
    (384, 1024, 24, 20, 2),
    (768, 2048, 128, 3, 2),
)


def dpn92(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns DPN92; its outputs are logits."""
    inputs = image_input(input_shape)
    x = conv_norm_relu(inputs, 64, 3, name="stem")
    for width, added, beside, depth, stride in _DPN92:
        before = conv_norm(x, added + beside, 1, stride)
        x = _dual_path(x, before, width, added, beside, stride)
        for _ in range(depth - 1):
            x = _dual_path(x, x, width, added, beside, 1)
    return classifier(inputs, x, num_classes, "dpn92")


def _dual_path(
    x: Any, before: Any, width: int, added: int, beside: int, stride: int
) -> Any:
    """Returns what came before, with a bottleneck of `x` joined to it."""
    new = bottleneck(x, width, added + beside, stride, groups=32)
    total = layers.Add()([before[..., :added], new[..., :added]])
    paths = [total, before[..., added:], new[..., added:]]
    return layers.ReLU()(layers.Concatenate()(paths))

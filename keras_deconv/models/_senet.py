"""SENet for images of 32 x 32.

"Squeeze-and-Excitation Networks" (Hu et al., CVPR 2018), on the blocks of the
pre-activation ResNet18.
"""

import keras
from keras import layers

from keras_deconv.models._blocks import classifier
from keras_deconv.models._blocks import conv_norm_relu
from keras_deconv.models._blocks import image_input
from keras_deconv.models._blocks import squeeze_excite
from keras_deconv.models._preact_resnet import preact_branches


def senet18(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns SENet18; its outputs are logits."""
    inputs = image_input(input_shape)
    x = conv_norm_relu(inputs, 64, 3, name="stem")
    for filters, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for each in (stride, 1):
            branch, shortcut = preact_branches(x, filters, each)
            x = layers.Add()([squeeze_excite(branch), shortcut])
    return classifier(inputs, x, num_classes, "senet18")

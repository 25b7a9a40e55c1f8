"""Pre-activation ResNet for images of 32 x 32.

"Identity Mappings in Deep Residual Networks" (He et al., ECCV 2016). Two
normalizations are added to the network that is usual on CIFAR: after the
first convolution, where the paper's code has one too, and before the pooling,
so that the sum of all branches is normalized. The last has neither scale nor
offset, as the dense layer has both.
"""

from typing import Any

import keras
from keras import layers

from keras_deconv.models._blocks import batch_norm
from keras_deconv.models._blocks import classifier
from keras_deconv.models._blocks import conv
from keras_deconv.models._blocks import conv_norm
from keras_deconv.models._blocks import image_input


def preact_resnet18(
    num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Returns PreActResNet18; its outputs are logits."""
    inputs = image_input(input_shape)
    x = conv_norm(inputs, 64, 3, name="stem")
    for filters, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for each in (stride, 1):
            x = layers.Add()([*preact_branches(x, filters, each)])
    x = layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, center=False, scale=False
    )(x)
    return classifier(inputs, x, num_classes, "preact_resnet18")


def preact_branches(x: Any, filters: int, stride: int) -> tuple[Any, Any]:
    """Returns the residual branch and the shortcut of a block.

    A shortcut that has to change its shape starts from the activation.
    """
    active = layers.ReLU()(batch_norm(x))
    if stride != 1 or x.shape[-1] != filters:
        x = conv(active, filters, 1, stride)
    branch = layers.ReLU()(conv_norm(active, filters, 3, stride))
    return conv(branch, filters, 3), x

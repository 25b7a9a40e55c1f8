"""Networks of the paper, in plain Keras: convolutions and normalization.

They know nothing of deconvolution. `deconvolutionize` makes the paper's
networks of them.
"""

from keras_deconv.models._deeplab import deeplabv3_resnet50
from keras_deconv.models._densenet import densenet121
from keras_deconv.models._densenet import imagenet_densenet121
from keras_deconv.models._dpn import dpn92
from keras_deconv.models._efficientnet import efficientnet_b0
from keras_deconv.models._initialize import initialize_like_torch
from keras_deconv.models._mobilenet_v2 import mobilenet_v2
from keras_deconv.models._pnasnet import pnasnet_a
from keras_deconv.models._preact_resnet import preact_resnet18
from keras_deconv.models._resnet import imagenet_resnet18
from keras_deconv.models._resnet import imagenet_resnet50
from keras_deconv.models._resnet import resnet18
from keras_deconv.models._resnext import resnext29_32x4d
from keras_deconv.models._senet import senet18
from keras_deconv.models._vgg import imagenet_vgg11
from keras_deconv.models._vgg import vgg11
from keras_deconv.models._vgg import vgg13
from keras_deconv.models._vgg import vgg16

__all__ = [
    "deeplabv3_resnet50",
    "densenet121",
    "dpn92",
    "efficientnet_b0",
    "imagenet_densenet121",
    "imagenet_resnet18",
    "imagenet_resnet50",
    "imagenet_vgg11",
    "initialize_like_torch",
    "mobilenet_v2",
    "pnasnet_a",
    "preact_resnet18",
    "resnet18",
    "resnext29_32x4d",
    "senet18",
    "vgg11",
    "vgg13",
    "vgg16",
]

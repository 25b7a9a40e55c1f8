"""Networks of the paper, in plain Keras: convolutions and normalization.

They know nothing of deconvolution. `deconvolutionize` makes the paper's
networks of them.
"""

from keras_deconv.models._resnet import resnet18
from keras_deconv.models._vgg import vgg11
from keras_deconv.models._vgg import vgg13
from keras_deconv.models._vgg import vgg16

__all__ = ["resnet18", "vgg11", "vgg13", "vgg16"]

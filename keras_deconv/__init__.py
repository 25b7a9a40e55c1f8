"""Network deconvolution for Keras 3: whitening instead of normalization."""

from keras_deconv import layers
from keras_deconv import ops
from keras_deconv import transforms
from keras_deconv.layers import DeconvConv2D
from keras_deconv.layers import DeconvDense
from keras_deconv.transforms import deconvolutionize
from keras_deconv.transforms import fold

__version__ = "0.1.0"

__all__ = [
    "DeconvConv2D",
    "DeconvDense",
    "deconvolutionize",
    "fold",
    "layers",
    "ops",
    "transforms",
]

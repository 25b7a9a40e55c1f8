"""Model to model: to deconvolution, and back to plain layers."""

from keras_deconv.transforms._calibrate import recalibrate
from keras_deconv.transforms._deconvolutionize import Conversion
from keras_deconv.transforms._deconvolutionize import deconvolutionize
from keras_deconv.transforms._deconvolutionize import plan
from keras_deconv.transforms._fold import fold
from keras_deconv.transforms._restore import restore

__all__ = [
    "Conversion",
    "deconvolutionize",
    "fold",
    "plan",
    "recalibrate",
    "restore",
]

"""Model to model: to deconvolution, and back to plain layers."""

from keras_deconv.transforms._deconvolutionize import deconvolutionize
from keras_deconv.transforms._fold import fold

__all__ = ["deconvolutionize", "fold"]

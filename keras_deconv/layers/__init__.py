"""Keras layers that whiten their input: network deconvolution.

"Deconvolution" is the whitening of Ye et al. (ICLR 2020). But for
`DeconvConv2DTranspose` and its like, none of these layers is a transposed
convolution.
"""

from keras_deconv.layers._channel import ChannelDeconv
from keras_deconv.layers._conv import DeconvConv1D
from keras_deconv.layers._conv import DeconvConv2D
from keras_deconv.layers._conv import DeconvConv3D
from keras_deconv.layers._conv_transpose import TRANSPOSED
from keras_deconv.layers._conv_transpose import DeconvConv1DTranspose
from keras_deconv.layers._conv_transpose import DeconvConv2DTranspose
from keras_deconv.layers._conv_transpose import DeconvConv3DTranspose
from keras_deconv.layers._dense import DeconvDense
from keras_deconv.layers._depthwise import DeconvDepthwiseConv1D
from keras_deconv.layers._depthwise import DeconvDepthwiseConv2D
from keras_deconv.layers._moments import SmallBatchWarning
from keras_deconv.layers._placeholder import ChannelAffine
from keras_deconv.layers._placeholder import Placeholder
from keras_deconv.layers._placeholder import RemovedNormalization
from keras_deconv.layers._presets import PRESETS
from keras_deconv.layers._separable import DeconvSeparableConv1D
from keras_deconv.layers._separable import DeconvSeparableConv2D
from keras_deconv.layers._settings import SamplingSettings
from keras_deconv.layers._statistics import RunningStatistics
from keras_deconv.layers._twin import adapter_of
from keras_deconv.layers._twin import make_twin
from keras_deconv.layers._twin import unbuilt_twin
from keras_deconv.layers._whiteness import Whiteness
from keras_deconv.layers._whiteness import condition_number
from keras_deconv.layers._whiteness import deconv_layers
from keras_deconv.layers._whiteness import measure_whiteness
from keras_deconv.layers._whitening import Whitening

__all__ = [
    "PRESETS",
    "TRANSPOSED",
    "ChannelAffine",
    "ChannelDeconv",
    "DeconvConv1D",
    "DeconvConv1DTranspose",
    "DeconvConv2D",
    "DeconvConv2DTranspose",
    "DeconvConv3D",
    "DeconvConv3DTranspose",
    "DeconvDense",
    "DeconvDepthwiseConv1D",
    "DeconvDepthwiseConv2D",
    "DeconvSeparableConv1D",
    "DeconvSeparableConv2D",
    "Placeholder",
    "RemovedNormalization",
    "RunningStatistics",
    "SamplingSettings",
    "SmallBatchWarning",
    "Whiteness",
    "Whitening",
    "adapter_of",
    "condition_number",
    "deconv_layers",
    "make_twin",
    "measure_whiteness",
    "unbuilt_twin",
]

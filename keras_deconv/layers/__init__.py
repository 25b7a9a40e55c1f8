"""Keras layers that whiten their input: network deconvolution.

"Deconvolution" is the whitening of Ye et al. (ICLR 2020). None of these
layers is a transposed convolution (`keras.layers.Conv2DTranspose`).
"""

from keras_deconv.layers._conv import DeconvConv2D
from keras_deconv.layers._dense import DeconvDense
from keras_deconv.layers._twin import make_twin
from keras_deconv.layers._whitening import Whitening

__all__ = ["DeconvConv2D", "DeconvDense", "Whitening", "make_twin"]

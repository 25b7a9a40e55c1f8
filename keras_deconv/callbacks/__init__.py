"""Keras callbacks that watch deconvolution layers in training."""

from keras_deconv.callbacks._whiteness import WhitenessMonitor

__all__ = ["WhitenessMonitor"]

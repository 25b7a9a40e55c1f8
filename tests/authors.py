"""The layers, made with the authors' settings where no others are given."""

import functools

import keras_deconv


def _with_settings(cls):
    names = cls.setting_names()
    settings = keras_deconv.PRESETS["paper"].items()
    return functools.partial(cls, **{k: v for k, v in settings if k in names})


ChannelDeconv = _with_settings(keras_deconv.ChannelDeconv)
DeconvConv1D = _with_settings(keras_deconv.DeconvConv1D)
DeconvConv1DTranspose = _with_settings(keras_deconv.DeconvConv1DTranspose)
DeconvConv2D = _with_settings(keras_deconv.DeconvConv2D)
DeconvConv2DTranspose = _with_settings(keras_deconv.DeconvConv2DTranspose)
DeconvConv3D = _with_settings(keras_deconv.DeconvConv3D)
DeconvConv3DTranspose = _with_settings(keras_deconv.DeconvConv3DTranspose)
DeconvDense = _with_settings(keras_deconv.DeconvDense)
DeconvDepthwiseConv1D = _with_settings(keras_deconv.DeconvDepthwiseConv1D)
DeconvDepthwiseConv2D = _with_settings(keras_deconv.DeconvDepthwiseConv2D)
DeconvSeparableConv1D = _with_settings(keras_deconv.DeconvSeparableConv1D)
DeconvSeparableConv2D = _with_settings(keras_deconv.DeconvSeparableConv2D)

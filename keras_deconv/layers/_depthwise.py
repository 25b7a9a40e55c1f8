"""Deconvolution layers over Keras's depthwise convolutions."""

import math

import keras
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._types import Tensor
from keras_deconv.layers._kernel import KernelWhitening
from keras_deconv.layers._settings import SamplingSettings


class DepthwiseWhitening(SamplingSettings, KernelWhitening):
    """Mixin: every channel is a block, with a D of `taps x taps`."""

    def _make_blocks(self, channels: int) -> deconv_ops.Blocks:
        return per_channel(channels, self.kernel_size)

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return depthwise_conv(self, inputs, kernel)


def per_channel(
    channels: int, kernel_size: tuple[int, ...]
) -> deconv_ops.Blocks:
    """Returns the blocks of a depthwise convolution."""
    return deconv_ops.Blocks(
        channels, math.prod(kernel_size), block_size=1, groups=channels
    )


def depthwise_conv(
    layer: keras.layers.Layer, inputs: Tensor, kernel: Tensor
) -> Tensor:
    """Convolves as `layer` does, with another kernel."""
    return ops.depthwise_conv(
        inputs,
        kernel,
        strides=layer.strides,
        padding=layer.padding,
        data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
    )


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvDepthwiseConv1D(DepthwiseWhitening, keras.layers.DepthwiseConv1D):
    """1-D depthwise convolution that whitens its input patches first.

    A drop-in replacement for `keras.layers.DepthwiseConv1D`; see
    `DeconvDepthwiseConv2D`.

    Args:
        *args: Arguments of `keras.layers.DepthwiseConv1D`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D` but those
            of blocks.

    Call arguments:
        inputs: `(n, steps, C)`, or `(n, C, steps)` with
            `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.DepthwiseConv1D


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvDepthwiseConv2D(DepthwiseWhitening, keras.layers.DepthwiseConv2D):
    """2-D depthwise convolution that whitens its input patches first.

    A drop-in replacement for `keras.layers.DepthwiseConv2D`. Each channel
    is a block of its own: `moving_mean` is `(C, taps)`, `moving_deconv`
    `(C, taps, taps)`, and only the correlation between pixels is removed.
    Settings and errors are those of `DeconvConv2D`, without the settings of
    blocks.

    Args:
        *args: Arguments of `keras.layers.DepthwiseConv2D`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D` but those
            of blocks.

    Call arguments:
        inputs: `(n, height, width, C)`, or `(n, C, height, width)` with
            `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.DepthwiseConv2D

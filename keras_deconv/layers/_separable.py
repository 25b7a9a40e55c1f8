"""Deconvolution layers over Keras's separable convolutions."""

from typing import Any

import keras
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._types import Tensor
from keras_deconv.layers._depthwise import depthwise_conv
from keras_deconv.layers._depthwise import per_channel
from keras_deconv.layers._moments import Samples
from keras_deconv.layers._settings import LayoutSettings
from keras_deconv.layers._settings import SamplingSettings
from keras_deconv.layers._statistics import RunningStatistics
from keras_deconv.layers._twin import make_twin


class SeparableWhitening(SamplingSettings, LayoutSettings):
    """Mixin: whitens what either half of a separable convolution sees.

    Weights, besides those of the Keras class: those of `RunningStatistics`
    for the patches of each channel, and, with the prefix `pointwise_`, for
    the channels between the halves.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = self._known_channels(input_shape)
        super().build(input_shape)
        depthwise, pointwise = self.whitened_blocks(channels)
        self._depthwise = RunningStatistics(
            self,
            depthwise,
            Samples(self._patches, self._mean_patch, self._scale_pixels),
        )
        self._pointwise = RunningStatistics(
            self,
            pointwise,
            Samples(self._pixels, self._mean_pixel, self._scale_pixels),
            prefix="pointwise_",
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        kernel, shift = self._depthwise(
            inputs, training, self.depthwise_kernel, None
        )
        kernel = ops.cast(kernel, self.compute_dtype)
        hidden = self._add_bias(depthwise_conv(self, inputs, kernel), shift)
        kernel, bias = self._pointwise(
            hidden, training, self.pointwise_kernel, self.bias
        )
        kernel = ops.cast(kernel, self.compute_dtype)
        outputs = ops.conv(hidden, kernel, data_format=self.data_format)
        return self._finish(outputs, bias)

    def fold(self) -> Any:
        """Returns the plain Keras layer that computes this one's inference.

        The bias between the halves is uniform, so that it passes through
        the pointwise kernel into the bias at the end.

        Raises:
            ValueError: If the layer is not built.
        """
        plain = make_twin(self, self.plain_class, use_bias=True)
        depthwise, shift = self._depthwise.fold(self.depthwise_kernel, None)
        pointwise, bias = self._pointwise.fold(self.pointwise_kernel, self.bias)
        columns = ops.reshape(pointwise, pointwise.shape[-2:])
        plain.depthwise_kernel.assign(depthwise)
        plain.pointwise_kernel.assign(pointwise)
        plain.bias.assign(bias + deconv_ops.product(shift[None], columns)[0])
        return plain

    def absorb(self, statistics: RunningStatistics) -> None:
        """Undoes in kernels and bias what the moving averages do.

        Of one half at a time: with new kernel and bias the layer predicts
        what it predicted while mean and D of that half were zero and the
        identity. It must have a bias.
        """
        if statistics is self._depthwise:
            kernel, shift = statistics.unfold(self.depthwise_kernel, None)
            columns = ops.reshape(
                ops.cast(self.pointwise_kernel, shift.dtype),
                self.pointwise_kernel.shape[-2:],
            )
            bias = ops.cast(self.bias, shift.dtype)
            bias = bias + deconv_ops.product(shift[None], columns)[0]
            self.depthwise_kernel.assign(kernel)
        else:
            kernel, bias = statistics.unfold(self.pointwise_kernel, self.bias)
            self.pointwise_kernel.assign(kernel)
        self.bias.assign(bias)

    def whitened_blocks(self, channels: int) -> list[deconv_ops.Blocks]:
        return [
            per_channel(channels, self.kernel_size),
            self._split(channels * self.depth_multiplier),
        ]

    def all_statistics(self) -> list[RunningStatistics]:
        return [self._depthwise, self._pointwise]


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvSeparableConv1D(SeparableWhitening, keras.layers.SeparableConv1D):
    """1-D separable convolution that whitens the input of both halves.

    A drop-in replacement for `keras.layers.SeparableConv1D`; see
    `DeconvSeparableConv2D`.

    Args:
        *args: Arguments of `keras.layers.SeparableConv1D`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D`.

    Call arguments:
        inputs: `(n, steps, C)`, or `(n, C, steps)` with
            `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.SeparableConv1D


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvSeparableConv2D(SeparableWhitening, keras.layers.SeparableConv2D):
    """2-D separable convolution that whitens the input of both halves.

    A drop-in replacement for `keras.layers.SeparableConv2D`: a
    `DeconvDepthwiseConv2D` and a pointwise `DeconvConv2D` in one layer. The
    settings of blocks apply to the pointwise half; in the depthwise half
    each channel is a block.

    Args:
        *args: Arguments of `keras.layers.SeparableConv2D`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D`.

    Call arguments:
        inputs: `(n, height, width, C)`, or `(n, C, height, width)` with
            `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.SeparableConv2D

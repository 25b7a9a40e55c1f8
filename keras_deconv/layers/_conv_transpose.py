"""Deconvolution layers over Keras's transposed convolutions."""

from typing import Any

import keras
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._engine import full_precision
from keras_deconv._types import Tensor
from keras_deconv.layers._kernel import KernelWhitening
from keras_deconv.layers._settings import LayoutSettings
from keras_deconv.layers._settings import SamplingSettings
from keras_deconv.layers._twin import make_twin

# Keras's layers that are a transposed convolution.
TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = {
    1: keras.layers.DepthwiseConv1D,
    2: keras.layers.DepthwiseConv2D,
}


class TransposeWhitening(SamplingSettings, LayoutSettings, KernelWhitening):
    """Mixin: whitens the channels that a transposed convolution spreads."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        mean, kernel = self._whiten(inputs, training)
        inputs = self._add_bias(inputs, -mean)
        kernel = ops.cast(kernel, self.compute_dtype)
        return self._finish(self._linear(inputs, kernel), self.bias)

    def fold(self) -> Any:
        """Returns the plain Keras layers that compute this one's inference.

        Raises:
            ValueError: If the layer is not built.
        """
        plain = make_twin(self, self.plain_class)
        mean, kernel = self._whiten()
        plain.kernel.assign(kernel)
        if self.bias is not None:
            plain.bias.assign(self.bias)
        shape = self.get_build_config()["input_shape"]
        centre = self._subtraction(shape, mean)
        folded = keras.Sequential(
            [keras.Input(batch_shape=shape), centre, plain], name=self.name
        )
        folded.trainable = self.trainable
        centre.trainable = False
        return folded

    def _subtraction(self, shape: tuple[int | None, ...], mean: Tensor) -> Any:
        """Returns a plain layer that takes a mean from each channel.

        It multiplies by one: older Keras cannot subtract the mean of
        channels that come first in a `Normalization`.
        """
        arguments = {
            "data_format": self.data_format,
            "name": f"{self.name}_centre",
            "dtype": self.dtype_policy,
        }
        if len(self.kernel_size) == 3:  # There is no DepthwiseConv3D.
            layer = keras.layers.Conv3D(mean.shape[0], 1, **arguments)
            kernel = ops.eye(mean.shape[0])
        else:
            depthwise = _DEPTHWISE[len(self.kernel_size)]
            layer = depthwise(1, **arguments)
            kernel = ops.ones(mean.shape[0])
        layer.build(shape)
        layer.kernel.assign(ops.reshape(kernel, layer.kernel.shape))
        layer.bias.assign(-mean)
        return layer

    def _make_blocks(self, channels: int) -> deconv_ops.Blocks:
        return self._split(channels)

    def _patches(self, inputs: Tensor) -> Tensor:
        return self._pixels(inputs)

    def _mean_patch(self, inputs: Tensor) -> Tensor:
        return self._mean_pixel(inputs)

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return ops.conv_transpose(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )

    def _whiten(
        self, inputs: Tensor = None, training: bool | None = False
    ) -> tuple[Tensor, Tensor]:
        """Returns the mean of each channel, `(C,)`, and the whitened kernel.

        Without inputs, both are by the moving averages.
        """
        statistics = self._statistics
        blocks = statistics.blocks
        # `(height, width, O, C)`: channels come last.
        shape = tuple(self.kernel.shape)
        kernel = ops.cast(self.kernel, self.statistics_dtype)
        kernel = ops.transpose(ops.reshape(kernel, (-1, shape[-1])))
        split = deconv_ops.split_kernel(kernel, blocks)
        with full_precision():
            mean, folded = statistics.whiten(inputs, training, split)
        folded = deconv_ops.merge_kernel(folded, blocks, tuple(kernel.shape))
        # Blocks that share a D share its mean.
        rows = blocks.count if blocks.shared else 1
        mean = ops.repeat(ops.expand_dims(mean, 1), rows, axis=1)
        mean = deconv_ops.merge_columns(mean, blocks)
        return (
            ops.reshape(mean, (-1,)),
            ops.reshape(ops.transpose(folded), shape),
        )


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvConv2DTranspose(TransposeWhitening, keras.layers.Conv2DTranspose):
    """2-D transposed convolution that whitens the channels of its input.

    A drop-in replacement for `keras.layers.Conv2DTranspose`. A transposed
    convolution spreads each input position over several outputs, so what it
    multiplies with its kernel is one position at a time: whitening is over
    channels, by a D of `B x B`. The mean is subtracted from the input
    itself: near the border, and with strides, not every output sees every
    tap, so that no uniform bias stands for the mean. (Whitening is what the
    paper calls deconvolution; the transposed convolution is a coincidence.)

    `fold()` therefore returns a `keras.Sequential` of a
    `keras.layers.DepthwiseConv2D` of 1 x 1, frozen, which subtracts the
    mean, and a `keras.layers.Conv2DTranspose`.

    Args:
        *args: Arguments of `keras.layers.Conv2DTranspose`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D`.
            `sampling_stride` counts positions of the input; None stands
            for 3.

    Call arguments:
        inputs: `(n, height, width, C)`, or `(n, C, height, width)` with
            `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.Conv2DTranspose


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvConv1DTranspose(TransposeWhitening, keras.layers.Conv1DTranspose):
    """1-D transposed convolution that whitens the channels of its input.

    A drop-in replacement for `keras.layers.Conv1DTranspose`; all else is as
    in `DeconvConv2DTranspose`. `fold()` returns a `keras.Sequential` of a
    `keras.layers.DepthwiseConv1D` and a `keras.layers.Conv1DTranspose`.

    Args:
        *args: Arguments of `keras.layers.Conv1DTranspose`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D`.

    Call arguments:
        inputs: `(n, steps, C)`, or `(n, C, steps)` with
            `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.Conv1DTranspose


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvConv3DTranspose(TransposeWhitening, keras.layers.Conv3DTranspose):
    """3-D transposed convolution that whitens the channels of its input.

    A drop-in replacement for `keras.layers.Conv3DTranspose`; all else is as
    in `DeconvConv2DTranspose`. `fold()` returns a `keras.Sequential` of a
    `keras.layers.Conv3D` of 1 x 1 x 1 and a
    `keras.layers.Conv3DTranspose`.

    Args:
        *args: Arguments of `keras.layers.Conv3DTranspose`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D`.

    Call arguments:
        inputs: `(n, depth, height, width, C)`, or `(n, C, depth, height,
            width)` with `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.Conv3DTranspose

"""Whitening of channels alone, as a layer of its own."""

from typing import Any
from typing import get_args

import keras
import numpy as np
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._checks import check_choice
from keras_deconv._engine import average
from keras_deconv._engine import slice_axis
from keras_deconv._types import DataFormat
from keras_deconv._types import Tensor
from keras_deconv.layers._masking import leave_out
from keras_deconv.layers._masking import over_samples
from keras_deconv.layers._moments import Samples
from keras_deconv.layers._settings import LayoutSettings
from keras_deconv.layers._settings import SamplingSettings
from keras_deconv.layers._statistics import RunningStatistics
from keras_deconv.layers._twin import check_built


@keras.saving.register_keras_serializable(package="keras_deconv")
class ChannelDeconv(SamplingSettings, LayoutSettings):
    """Whitens channels and leaves the shape alone.

    A drop-in replacement for batch normalization where no convolution
    follows: returns `(x - mean) D` of the channels of each position, with
    `D = (Cov + epsilon I) ** -1/2`. It has no trainable weights.

    Channels that remain when the blocks have been taken are standardised by
    one mean and one variance that they share, as in the authors' code (each
    by its own with `share_blocks=False`). Unlike the authors' layer, this one
    centres the samples before it takes their covariance.

    Weights: those of `RunningStatistics`, and, if channels remain, the same
    for these with the prefix `rest_`.

    Args:
        block_size: B, channels whitened together; all if there are fewer.
        block_layout: As in `DeconvConv2D`.
        share_blocks: As in `DeconvConv2D`.
        sampling_stride: S. Statistics come from every S-th position; None
            stands for 3.
        epsilon: Ridge added to the covariance. The default is the authors'
            for this layer.
        data_format: `"channels_last"` or `"channels_first"`; by default
            what `keras.config.image_data_format()` says.
        **kwargs: The other settings of `DeconvConv2D`: `num_iterations`,
            `momentum`, ...; and `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: `(n, *spatial, C)` with none to three spatial axes, or
            `(n, C, *spatial)` with `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
        mask: `(n, *spatial)`, or the first of these axes: True for positions
            that count in the statistics, all of them, whatever S is. Keras
            hands on that of the inputs.

    Raises:
        ValueError: If an argument is out of range, the inputs have a rank
            below 2 or above 5 or unknown channels, a training batch has no
            rows, or the mask has other axes than the inputs.
    """

    def __init__(
        self,
        *,
        epsilon: float = 1e-2,
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon=epsilon, **kwargs)
        self.data_format = check_choice(
            "data_format",
            keras.config.image_data_format()
            if data_format is None
            else data_format,
            get_args(DataFormat),
        )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, max_ndim=5)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = self._known_channels(input_shape)
        super().build(input_shape)
        axis = 1 if self._channels_first else -1
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, max_ndim=5, axes={axis: channels}
        )
        whole, *rest = self.whitened_blocks(channels)
        samples = Samples(self._pixels, self._mean_pixel, self._scale_pixels)
        self._whole = RunningStatistics(self, whole, samples)
        self._rest = None
        if rest:
            self._rest = RunningStatistics(
                self, rest[0], samples, prefix="rest_"
            )

    def whitened_blocks(self, channels: int) -> list[deconv_ops.Blocks]:
        rest = channels % min(channels, self.block_size)
        blocks = [self._split(channels - rest)]
        if rest:
            blocks.append(
                deconv_ops.Blocks(
                    rest,
                    taps=1,
                    block_size=1,
                    layout=self.block_layout,
                    shared=self.share_blocks,
                )
            )
        return blocks

    def all_statistics(self) -> list[RunningStatistics]:
        return (
            [self._whole] if self._rest is None else [self._whole, self._rest]
        )

    def call(
        self,
        inputs: Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        if self._channels_first:
            inputs = ops.moveaxis(inputs, 1, -1)
        samples = inputs
        if mask is not None:
            mask = over_samples(mask, inputs, self)
            if self._measures(training):
                # Every position: those kept may be between sampled ones.
                samples = leave_out(inputs, mask, self)
                samples = ops.reshape(samples, (-1, inputs.shape[-1]))
        start, parts = 0, []
        for statistics in self.all_statistics():
            channels = statistics.blocks.channels
            part, seen = (
                slice_axis(each, len(each.shape) - 1, start, channels)
                for each in (inputs, samples)
            )
            kernel, bias = statistics(seen, training, _identity(channels), None)
            kernel = ops.cast(kernel[0], self.compute_dtype)
            # Whole numbers too, as in `BatchNormalization`.
            part = ops.cast(part, self.compute_dtype)
            part = deconv_ops.product_of_rows(part, kernel)
            parts.append(self._add(part, bias))
            start += channels
        outputs = ops.concatenate(parts, axis=-1)
        if self._channels_first:
            outputs = ops.moveaxis(outputs, -1, 1)
        return outputs

    def fold(self) -> Any:
        """Returns the plain Keras layer that computes this one's inference.

        That is a pointwise convolution, or a `Dense` if there are no spatial
        axes.

        Raises:
            ValueError: If the layer is not built.
        """
        check_built(self)
        shape = self.get_build_config()["input_shape"]
        rank = len(shape) - 2
        channels = sum(s.blocks.channels for s in self.all_statistics())
        common = {"name": self.name, "dtype": self.dtype_policy}
        if rank == 0:
            plain = keras.layers.Dense(channels, **common)
        else:
            conv = getattr(keras.layers, f"Conv{rank}D")
            plain = conv(channels, 1, data_format=self.data_format, **common)
        plain.build(shape)
        plain.trainable = self.trainable
        start, kernel, biases = 0, 0, []
        for statistics in self.all_statistics():
            width = statistics.blocks.channels
            stop = start + width
            part, bias = statistics.fold(_identity(width), None)
            kernel += ops.pad(part[0], [(start, channels - stop)] * 2)
            biases.append(bias)
            start = stop
        plain.kernel.assign(ops.reshape(kernel, plain.kernel.shape))
        plain.bias.assign(ops.concatenate(biases))
        return plain

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return input_shape

    def _pixels(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) == 2:
            return ops.expand_dims(inputs, -1)
        return super()._pixels(inputs)

    def _mean_pixel(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) == 2:
            return ops.expand_dims(average(inputs, axis=0), -1)
        return super()._mean_pixel(inputs)

    def _points(self, inputs: Tensor) -> dict[str, Any]:
        # Channels have been moved to the end.
        return {**super()._points(inputs), "data_format": "channels_last"}


def _identity(channels: int) -> Tensor:
    """Returns the kernel `(1, C, C)` that leaves channels as they are."""
    # A constant: OpenVINO has no `eye` of TensorFlow.
    return ops.convert_to_tensor(np.eye(channels, dtype="float32")[None])

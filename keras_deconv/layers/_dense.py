"""Deconvolution layer over Keras's Dense."""

from typing import Any

import keras
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._engine import average
from keras_deconv._types import Tensor
from keras_deconv.layers._kernel import KernelWhitening
from keras_deconv.layers._masking import leave_out
from keras_deconv.layers._masking import over_samples
from keras_deconv.layers._settings import BlockSettings


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvDense(BlockSettings, KernelWhitening, keras.layers.Dense):
    """Dense layer that whitens its input features first.

    A drop-in replacement for `keras.layers.Dense`, after "Network
    Deconvolution" (Ye et al., ICLR 2020): with `D = (Cov + epsilon I) **
    -1/2` of the inputs `x`, the layer computes `(x - mean) D w + b`. Blocks
    are contiguous features, by default 512 as in the authors' networks for
    CIFAR: a VGG16 did not train with blocks of 16. Settings and weights are
    otherwise those of `DeconvConv2D`; there is no `block_layout` and no
    `sampling_stride`.

    A batch of few samples spans few directions: with at most a quarter as
    many rows as F, and F of 256 or more, the same D is computed of these
    directions alone, in far less time
    (`keras_deconv.ops.inverse_sqrt_of_rows`). That is for inputs `(n, C)`, the
    method `"newton_schulz"`, and statistics of one device.

    Args:
        *args: Arguments of `keras.layers.Dense`: `units`, `activation`, ...,
            also by name.
        block_size: B, features whitened together. All features if there are
            fewer; else the greatest common divisor with the features.
        **kwargs: More of them, and the settings of `DeconvConv2D`.

    Call arguments:
        inputs: `(n, ..., C)`. Every leading axis counts as samples.
        training: Whether to use, and learn from, the statistics of the
            batch. Ignored if the layer is not `trainable`.
        mask: `(n, ...)`, True for samples that count in the statistics; by
            default all do. Keras hands on that of the inputs.

    Raises:
        ValueError: If an argument is out of range, the inputs have rank
            below 2 or unknown features, a training batch has no rows, or the
            mask has other axes than the inputs.
    """

    plain_class = keras.layers.Dense

    def __init__(
        self, *args: Any, block_size: int = 512, **kwargs: Any
    ) -> None:
        super().__init__(*args, block_size=block_size, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        # Keras's class can be built from the features alone.
        if len(input_shape) == 1:
            input_shape = (None, *input_shape)
        super().build(input_shape)

    def call(
        self,
        inputs: Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        samples = inputs
        if mask is not None:
            mask = over_samples(mask, inputs, self)
            if self._measures(training):
                samples = leave_out(inputs, mask, self)
        return self._call(inputs, samples, training)

    def _make_blocks(self, channels: int) -> deconv_ops.Blocks:
        return self._split(channels)

    def _patches(self, inputs: Tensor) -> Tensor:
        return ops.expand_dims(inputs, -1)

    def _mean_patch(self, inputs: Tensor) -> Tensor:
        rows = ops.reshape(inputs, (-1, inputs.shape[-1]))
        return ops.expand_dims(average(rows, axis=0), -1)

    def _scale_pixels(self, inputs: Tensor) -> Tensor:
        return inputs

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        # As in Keras's class, which takes whole numbers too.
        inputs = ops.cast(inputs, self.compute_dtype)
        return deconv_ops.product_of_rows(inputs, kernel)

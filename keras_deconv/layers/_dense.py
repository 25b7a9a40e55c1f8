"""Deconvolution layer over Keras's Dense."""

import keras
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._types import Tensor
from keras_deconv.layers._whitening import Whitening


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvDense(Whitening, keras.layers.Dense):
    """Dense layer that whitens its input features first.

    A drop-in replacement for `keras.layers.Dense`, after "Network
    Deconvolution" (Ye et al., ICLR 2020): with `D = (Cov + epsilon I) **
    -1/2` of the inputs `x`, the layer computes `(x - mean) D w + b`. Blocks
    are contiguous features, pooled into one covariance and one D.

    Args:
        *args: Arguments of `keras.layers.Dense`: `units`, `activation`, ...,
            also by name.
        block_size: B, features whitened together. All features if there are
            fewer; else the greatest common divisor with the features.
        num_iterations: Newton-Schulz steps for D (section 3.3).
        epsilon: Ridge added to the covariance, in squared units of the
            inputs.
        momentum: Decay of the moving averages: the share of the old value
            that a training step keeps.
        **kwargs: More arguments of `keras.layers.Dense`.

    Call arguments:
        inputs: `(n, ..., C)`. Every leading axis counts as samples.
        training: Whether to use, and learn from, the statistics of the
            batch. Ignored if the layer is not `trainable`.

    Raises:
        ValueError: If an argument is out of range, the inputs have rank
            below 2 or unknown features, or a training batch has no rows.
    """

    plain_class = keras.layers.Dense

    def _make_blocks(self, channels: int) -> deconv_ops.Blocks:
        return deconv_ops.Blocks(
            channels=channels,
            taps=1,
            block_size=self._whole_blocks(channels),
            layout="contiguous",
        )

    def _patches(self, inputs: Tensor) -> Tensor:
        return ops.expand_dims(inputs, -1)

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return ops.matmul(inputs, kernel)

    @property
    def _bias_shape(self) -> tuple[int, ...]:
        return (self.units,)

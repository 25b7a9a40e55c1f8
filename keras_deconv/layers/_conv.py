"""Deconvolution layers over Keras's convolutions."""

import math
from typing import Any

import keras

from keras_deconv import ops as deconv_ops
from keras_deconv._types import BlockLayout
from keras_deconv._types import Tensor
from keras_deconv.layers._checks import check_choice
from keras_deconv.layers._checks import check_count
from keras_deconv.layers._whitening import Whitening


class ConvWhitening(Whitening):
    """Mixin: whitens the patches under a convolution of any rank."""

    def __init__(
        self,
        *args: Any,
        sampling_stride: int = 3,
        block_layout: BlockLayout = "interleaved",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sampling_stride = check_count("sampling_stride", sampling_stride)
        self.block_layout = check_choice(
            "block_layout", block_layout, ("interleaved", "contiguous")
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sampling_stride": self.sampling_stride,
            "block_layout": self.block_layout,
        }

    def _make_blocks(self, channels: int) -> deconv_ops.Blocks:
        if channels % self.groups:
            raise ValueError(
                "The channels of the inputs must be divisible by `groups`. "
                f"Received: groups={self.groups}, channels={channels}"
            )
        return deconv_ops.Blocks(
            channels=channels,
            taps=math.prod(self.kernel_size),
            block_size=(
                self._whole_blocks(channels)
                if self.groups == 1
                else channels // self.groups
            ),
            groups=self.groups,
            layout=self.block_layout,
        )

    def _patches(self, inputs: Tensor) -> Tensor:
        return deconv_ops.sampled_patches(
            inputs,
            self.kernel_size,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            padding=self.padding,
            sampling_stride=self.sampling_stride,
            data_format=self.data_format,
        )

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return self.convolution_op(inputs, kernel)

    @property
    def _bias_shape(self) -> tuple[int, ...]:
        ones = (1,) * self.rank
        if self._channels_first:
            return (1, self.filters, *ones)
        return (1, *ones, self.filters)


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvConv2D(ConvWhitening, keras.layers.Conv2D):
    """2-D convolution that whitens its input patches first.

    A drop-in replacement for `keras.layers.Conv2D` followed by batch
    normalization, after "Network Deconvolution" (Ye et al., ICLR 2020):
    with `D = (Cov + epsilon I) ** -1/2` of the input patches `x`, the layer
    computes `(x - mean) D w + b`. That removes the correlation between
    neighbouring pixels and between channels, so that gradient descent
    converges faster. It is not a transposed convolution.

    Everything costs one convolution: D and mean are folded into kernel and
    bias (`fold()` makes that permanent). The mean is subtracted even with
    `use_bias=False`. With `groups > 1` each convolution group is a block
    with a D of its own, whatever `block_size` says.

    Args:
        *args: Arguments of `keras.layers.Conv2D`: `filters`, `kernel_size`,
            `strides`, `padding`, ..., also by name.
        block_size: B, channels whitened together. All channels if there are
            fewer; else the greatest common divisor with the channels. The
            cost of D grows with the cube of B.
        sampling_stride: S. Statistics are taken from every S-th output
            position, on both axes (section 4.5.2).
        num_iterations: Newton-Schulz steps for D (section 3.3). More steps
            whiten directions of less variance, and amplify noise.
        epsilon: Ridge added to the covariance, in squared units of the
            inputs.
        momentum: Decay of the moving averages: the share of the old value
            that a training step keeps.
        block_layout: `"interleaved"` (the authors' code) or `"contiguous"`
            (the paper's text); see `keras_deconv.ops.Blocks`.
        **kwargs: More arguments of `keras.layers.Conv2D`.

    Call arguments:
        inputs: `(n, height, width, C)`, or `(n, C, height, width)` with
            `data_format="channels_first"`.
        training: Whether to use, and learn from, the statistics of the
            batch. Ignored if the layer is not `trainable`.

    Raises:
        ValueError: If an argument is out of range, the inputs have rank
            below 4 or unknown channels, or a training batch has no rows.

    Example:
        >>> layer = DeconvConv2D(32, 3, padding="same", activation="relu")
        >>> layer(keras.random.normal((8, 16, 16, 3)), training=True).shape
        (8, 16, 16, 32)
    """

    plain_class = keras.layers.Conv2D

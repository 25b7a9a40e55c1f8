"""Deconvolution layers over Keras's convolutions."""

import math

import keras
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._types import Tensor
from keras_deconv.layers._kernel import KernelWhitening
from keras_deconv.layers._settings import LayoutSettings
from keras_deconv.layers._settings import SamplingSettings

# Without `update_every`: how many filters for each feature of a D make it so
# cheap, next to the convolution, that it is always new.
_WIDE = 3


class ConvWhitening(SamplingSettings, LayoutSettings, KernelWhitening):
    """Mixin: whitens the patches under a convolution of any rank."""

    def period(self, blocks: deconv_ops.Blocks) -> int:
        # Wide layers gain by the gradient of D (docs/ablation.md).
        filters = self.filters // self.groups
        is_wide = blocks.shared and filters >= _WIDE * blocks.features
        if self.update_every is None and is_wide:
            return 1
        return super().period(blocks)

    def _make_blocks(self, channels: int) -> deconv_ops.Blocks:
        if channels % self.groups:
            raise ValueError(
                "The channels of the inputs must be divisible by `groups`. "
                f"Received: groups={self.groups}, channels={channels}"
            )
        taps = math.prod(self.kernel_size)
        if self.groups == 1:
            return self._split(channels, taps)
        return deconv_ops.Blocks(
            channels, taps, channels // self.groups, groups=self.groups
        )

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return self.convolution_op(inputs, kernel)


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
    with a D of its own, whatever the settings of blocks say.

    Constant or duplicated channels, inputs of zeros and batches with fewer
    samples than features give finite outputs and gradients: the ridge
    stands in for the missing variance. A single sample is its own mean: in a
    layer of one block it gives the bias alone, up to rounding.

    `epsilon` is absolute, as in the authors' code: to whiten inputs that
    are s times as large in the same way, multiply it by s squared. At unit
    scale and above, the default changes outputs by less than 1e-4: five
    steps of Newton-Schulz do not reach directions of so little variance.

    Args:
        *args: Arguments of `keras.layers.Conv2D`: `filters`, `kernel_size`,
            `strides`, `padding`, ..., also by name.
        block_size: B, channels whitened together, 16 by default. All channels
            if there are fewer; else the greatest common divisor with the
            channels. The cost of D grows with the cube of B.
        block_layout: `"interleaved"` (the authors' code, and the default) or
            `"contiguous"` (the paper's text); see `keras_deconv.ops.Blocks`.
        share_blocks: Whether all blocks share one D, which is the default.
            Blocks with a D each have to be contiguous.
        sampling_stride: S. Statistics are taken from every S-th output
            position, on each axis (section 4.5.2). None, the default, stands
            for 3, as in the authors' code; for more under a wider kernel, so
            that its patches do not overlap, unless fewer than four positions
            would be left along the axis.
        num_iterations: Newton-Schulz steps for D (section 3.3), 5 by default.
            More steps whiten directions of less variance, and amplify noise.
        epsilon: Ridge added to the covariance, in squared units of the
            inputs, 1e-5 by default.
        momentum: Decay of the moving averages: the share of the old value
            that a training step keeps, 0.9 by default.
        method: How D is computed: `"newton_schulz"`, the default,
            `"minimax"`, which stands for five steps and takes no other number
            of them, or `"eigh"`; see `keras_deconv.ops.inverse_sqrt`.
        update_every: T. D is computed on every step of the warm-up, then on
            every T-th training step; in between the last one is used, with
            mean and scale of each batch: D times the standard deviation of
            its own batch over that of this one. None, the default, stands
            for 8, and for 1 where D is cheap: of single positions, without
            patches to cut, and of 64 features at most; and where there are at
            least three filters for each feature of one D, as with 3 x 3 taps,
            blocks of 16 and 512 filters. Unless 1 itself is given, the moving
            D is an average at unit scale; with 1 given, D itself is averaged,
            as in the authors' code.
        warmup_steps: Length of the warm-up, in training steps, 100 by
            default.
        freeze_after: Training steps after which the moving averages are
            used for good, or None, the default.
        differentiate: Whether the gradient goes through mean and D, which is
            the default; in between two D, through the mean.
        synchronized: Whether replicas of a model that is trained on several
            devices whiten by the statistics of the whole batch, or each by
            those of its own share, which is the default.
        **kwargs: More arguments of `keras.layers.Conv2D`.

    Weights beside kernel and bias, none trainable, with F features of a block
    and as many matrices as there are D: `moving_mean`, `(matrices, F)`, and
    `moving_deconv`, `(matrices, F, F)`; with T above 1 the last D,
    `batch_deconv`, its `batch_variance`, `(matrices,)`, and
    `moving_variance`; with T above 1 or `freeze_after` the `step`.

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


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvConv1D(ConvWhitening, keras.layers.Conv1D):
    """1-D convolution that whitens its input patches first.

    A drop-in replacement for `keras.layers.Conv1D`, causal padding
    included. Settings, weights and errors are those of `DeconvConv2D`.

    Args:
        *args: Arguments of `keras.layers.Conv1D`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D`.

    Call arguments:
        inputs: `(n, steps, C)`, or `(n, C, steps)` with
            `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.Conv1D

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if self.padding != "causal":
            return self.convolution_op(inputs, kernel)
        reach = (self.kernel_size[0] - 1) * self.dilation_rate[0]
        pad_width = [(0, 0), (0, 0), (0, 0)]
        pad_width[-1 if self._channels_first else 1] = (reach, 0)
        return ops.conv(
            ops.pad(inputs, pad_width),
            kernel,
            strides=list(self.strides),
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@keras.saving.register_keras_serializable(package="keras_deconv")
class DeconvConv3D(ConvWhitening, keras.layers.Conv3D):
    """3-D convolution that whitens its input patches first.

    A drop-in replacement for `keras.layers.Conv3D`. Settings, weights and
    errors are those of `DeconvConv2D`. A 3x3x3 kernel has 27 taps: a
    smaller `block_size` keeps D as small as in two dimensions.

    Args:
        *args: Arguments of `keras.layers.Conv3D`, also by name.
        **kwargs: More of them, and the settings of `DeconvConv2D`.

    Call arguments:
        inputs: `(n, depth, height, width, C)`, or `(n, C, depth, height,
            width)` with `data_format="channels_first"`.
        training: As in `DeconvConv2D`.
    """

    plain_class = keras.layers.Conv3D

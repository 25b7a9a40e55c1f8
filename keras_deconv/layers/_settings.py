"""Settings that some deconvolution layers have and others lack."""

import math
from collections.abc import Sequence
from typing import Any
from typing import get_args

from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._engine import take_every
from keras_deconv._types import BlockLayout
from keras_deconv._types import Tensor
from keras_deconv.layers._checks import check_choice
from keras_deconv.layers._checks import check_count
from keras_deconv.layers._checks import check_flag
from keras_deconv.layers._whitening import Whitening

# Of sampled positions, where no distance is given: the least distance, that of
# the authors' code, and the least number along an axis with a longer one.
NEAREST, _FEWEST = 3, 4


class BlockSettings(Whitening):
    """Mixin: splits channels into contiguous blocks.

    Args:
        *args: Arguments of the Keras class.
        block_size: B, channels whitened together. All channels if there are
            fewer; else the greatest common divisor with the channels. The
            cost of D grows with the cube of B.
        share_blocks: Whether all blocks share one D. Blocks with a D each
            have to be contiguous.
        **kwargs: More arguments of the Keras class.
    """

    block_layout: BlockLayout = "contiguous"

    def __init__(
        self,
        *args: Any,
        block_size: int = 16,
        share_blocks: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.block_size = check_count("block_size", block_size)
        self.share_blocks = check_flag("share_blocks", share_blocks)

    def _split(self, channels: int, taps: int = 1) -> deconv_ops.Blocks:
        """Returns the blocks of all channels together."""
        fitting = math.gcd(channels, self.block_size)
        if channels <= self.block_size:
            fitting = channels
        return deconv_ops.Blocks(
            channels=channels,
            taps=taps,
            block_size=fitting,
            layout=self.block_layout,
            shared=self.share_blocks,
        )


class LayoutSettings(BlockSettings):
    """Mixin: splits channels into blocks of either layout.

    Args:
        *args: Arguments of the Keras class.
        block_layout: `"interleaved"` (the authors' code) or `"contiguous"`
            (the paper's text); see `keras_deconv.ops.Blocks`.
        **kwargs: More arguments of the Keras class.
    """

    def __init__(
        self,
        *args: Any,
        block_layout: BlockLayout = "interleaved",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.block_layout = check_choice(
            "block_layout", block_layout, get_args(BlockLayout)
        )
        if block_layout == "interleaved" and not self.share_blocks:
            raise ValueError(
                "`share_blocks` must be True with interleaved blocks. "
                "Received: share_blocks=False, block_layout='interleaved'"
            )


class SamplingSettings(Whitening):
    """Mixin: takes statistics from some positions only.

    Args:
        *args: Arguments of the Keras class.
        sampling_stride: S. Statistics come from every S-th position, on each
            spatial axis (section 4.5.2). None stands for 3, as in the
            authors' code, and for as much as a wider kernel takes for its
            patches not to overlap, while four are left along the axis.
        **kwargs: More arguments of the Keras class.
    """

    def __init__(
        self, *args: Any, sampling_stride: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if sampling_stride is not None:
            sampling_stride = check_count("sampling_stride", sampling_stride)
        self.sampling_stride = sampling_stride

    def sampling_strides(
        self,
        positions: Sequence[int | None],
        kernel_size: Sequence[int],
        strides: Sequence[int],
    ) -> tuple[int, ...]:
        """Returns S for each spatial axis of a convolution.

        Args:
            positions: How many outputs there are along each axis, or None
                where that is unknown.
            kernel_size: Taps along each axis.
            strides: Strides of the convolution.
        """
        if self.sampling_stride is not None:
            return (self.sampling_stride,) * len(positions)
        return tuple(
            max(NEAREST, min(-(-size // stride), (count or 0) // _FEWEST))
            for count, size, stride in zip(
                positions, kernel_size, strides, strict=True
            )
        )

    def _patches(self, inputs: Tensor) -> Tensor:
        """Returns the patches under the kernel."""
        outputs = self.compute_output_shape(tuple(inputs.shape))
        first = self.data_format == "channels_first"
        return deconv_ops.sampled_patches(
            inputs,
            self.kernel_size,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            padding=self.padding,
            sampling_stride=self.sampling_strides(
                outputs[2:] if first else outputs[1:-1],
                self.kernel_size,
                self.strides,
            ),
            data_format=self.data_format,
        )

    def _pixels(self, inputs: Tensor) -> Tensor:
        """Returns the channels of single positions, `(..., C, 1)`."""
        return deconv_ops.sampled_patches(
            inputs,
            (1,) * (len(inputs.shape) - 2),
            sampling_stride=self.sampling_stride or NEAREST,
            data_format=self.data_format,
        )

    def _scale_pixels(self, inputs: Tensor) -> Tensor:
        """Returns pixels for a scale: four along an axis known to have them.

        A map of 2 x 2 has one for `_pixels`, which says too little of the
        other three where a batch is small.
        """
        if self.data_format == "channels_first":
            inputs = ops.moveaxis(inputs, 1, -1)
        stride = self.sampling_stride or NEAREST
        strides = [
            stride if size is None else min(stride, max(1, size // _FEWEST))
            for size in inputs.shape[1:-1]
        ]
        return ops.expand_dims(take_every(inputs, strides), -1)

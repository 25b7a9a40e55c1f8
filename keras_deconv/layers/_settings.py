"""Settings that some deconvolution layers have and others lack."""

import math
from typing import Any
from typing import get_args

from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._checks import check_choice
from keras_deconv._checks import check_count
from keras_deconv._checks import check_flag
from keras_deconv._engine import take_every
from keras_deconv._types import BlockLayout
from keras_deconv._types import Tensor
from keras_deconv.layers._whitening import Whitening


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
                "`share_blocks` must be True, unless `block_layout` is "
                "'contiguous': interleaved blocks share one D. "
                "Received: share_blocks=False, block_layout='interleaved'"
            )


class SamplingSettings(Whitening):
    """Mixin: takes statistics from some positions only.

    Args:
        *args: Arguments of the Keras class.
        sampling_stride: S. Statistics come from every S-th position, on each
            spatial axis (section 4.5.2). None stands for 3, as in the
            authors' code; for more under a wider kernel, so that its patches
            do not overlap, unless fewer than four positions would be left
            along the axis.
        **kwargs: More arguments of the Keras class.
    """

    def __init__(
        self, *args: Any, sampling_stride: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if sampling_stride is not None:
            sampling_stride = check_count("sampling_stride", sampling_stride)
        self.sampling_stride = sampling_stride

    def _patches(self, inputs: Tensor) -> Tensor:
        """Returns the patches under the kernel."""
        return deconv_ops.sampled_patches(inputs, **self._geometry())

    def _mean_patch(self, inputs: Tensor) -> Tensor:
        """Returns the mean of the patches, `(C, taps)`."""
        return deconv_ops.mean_patch(inputs, **self._geometry())

    def _geometry(self) -> dict[str, Any]:
        """Says where the patches under the kernel lie."""
        return {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "dilation_rate": self.dilation_rate,
            "padding": self.padding,
            "sampling_stride": self.sampling_stride,
            "data_format": self.data_format,
        }

    def _pixels(self, inputs: Tensor) -> Tensor:
        """Returns the channels of single positions, `(..., C, 1)`."""
        return deconv_ops.sampled_patches(inputs, **self._points(inputs))

    def _mean_pixel(self, inputs: Tensor) -> Tensor:
        """Returns the mean of these, `(C, 1)`."""
        return deconv_ops.mean_patch(inputs, **self._points(inputs))

    def _points(self, inputs: Tensor) -> dict[str, Any]:
        """Says where the single positions lie."""
        return {
            "kernel_size": (1,) * (len(inputs.shape) - 2),
            "sampling_stride": self.sampling_stride
            or deconv_ops.DEFAULT_STRIDE,
            "data_format": self.data_format,
        }

    def _scale_pixels(self, inputs: Tensor) -> Tensor:
        """Returns pixels for a scale: four along an axis known to have them.

        A map of 2 x 2 has one for `_pixels`, which says too little of the
        other three where a batch is small.
        """
        points = self._points(inputs)
        if points["data_format"] == "channels_first":
            inputs = ops.moveaxis(inputs, 1, -1)
        stride, fewest = points["sampling_stride"], deconv_ops.FEWEST_POSITIONS
        strides = [
            stride if size is None else min(stride, max(1, size // fewest))
            for size in inputs.shape[1:-1]
        ]
        return take_every(inputs, strides)

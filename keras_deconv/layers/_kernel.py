"""Whitening of layers with one kernel."""

from typing import Any

from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._types import Tensor
from keras_deconv.layers._moments import Samples
from keras_deconv.layers._statistics import RunningStatistics
from keras_deconv.layers._twin import make_twin
from keras_deconv.layers._whitening import Whitening


class KernelWhitening(Whitening):
    """Mixin: multiplies with `D w` in place of the kernel `w`.

    A class that joins this mixin to a Keras class provides `plain_class`,
    `_make_blocks`, `_linear`, and what `Samples` takes. Weights, besides
    those of the Keras class: see `RunningStatistics`.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        blocks = self._make_blocks(self._known_channels(input_shape))
        super().build(input_shape)
        self._statistics = RunningStatistics(
            self,
            blocks,
            Samples(self._patches, self._mean_patch, self._scale_pixels),
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        return self._call(inputs, inputs, training)

    def _call(
        self, inputs: Tensor, samples: Tensor, training: bool | None
    ) -> Tensor:
        """Whitens inputs by the statistics of samples."""
        kernel, bias = self._statistics(
            samples, training, self.kernel, self.bias
        )
        kernel = ops.cast(kernel, self.compute_dtype)
        return self._finish(self._linear(inputs, kernel), bias)

    def fold(self) -> Any:
        """Returns the plain Keras layer that computes this one's inference.

        The moving mean and D go into its kernel and bias, so it always has
        a bias. It shares name, dtype policy and all else, but no weights.

        Raises:
            ValueError: If the layer is not built.
        """
        plain = make_twin(self, self.plain_class, use_bias=True)
        kernel, bias = self._statistics.fold(self.kernel, self.bias)
        plain.kernel.assign(kernel)
        plain.bias.assign(bias)
        return plain

    def absorb(self, statistics: RunningStatistics) -> None:
        """Undoes in kernel and bias what the moving averages do.

        With new kernel and bias the layer predicts what it predicted while
        mean and D were zero and the identity. It must have a bias.
        """
        kernel, bias = statistics.unfold(self.kernel, self.bias)
        self.kernel.assign(kernel)
        self.bias.assign(bias)

    def whitened_blocks(self, channels: int) -> list[deconv_ops.Blocks]:
        return [self._make_blocks(channels)]

    def all_statistics(self) -> list[RunningStatistics]:
        return [self._statistics]

    def _make_blocks(self, channels: int) -> deconv_ops.Blocks:
        """Returns how the features of an input are dealt into blocks."""
        raise NotImplementedError

    def _patches(self, inputs: Tensor) -> Tensor:
        """Returns `(..., C, taps)`: what rows of the kernel multiply."""
        raise NotImplementedError

    def _mean_patch(self, inputs: Tensor) -> Tensor:
        """Returns the mean of the patches, `(C, taps)`."""
        raise NotImplementedError

    def _scale_pixels(self, inputs: Tensor) -> Tensor:
        """Returns `(..., C)`: channels of single positions."""
        raise NotImplementedError

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Returns the layer's product of inputs and kernel, without bias."""
        raise NotImplementedError

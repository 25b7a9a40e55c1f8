"""Mean, variance and D of a batch, of all replicas together."""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._engine import average
from keras_deconv._engine import cond
from keras_deconv._engine import full_precision
from keras_deconv._engine import mean_and_variance
from keras_deconv._engine import replica
from keras_deconv._engine import reshape
from keras_deconv._engine import traced_once
from keras_deconv._types import Tensor
from keras_deconv._warnings import warn
from keras_deconv.layers._replicas import Shares

# More steps amplify the rounding of D by rows.
_MOST_BY_ROWS = 10


class SmallBatchWarning(UserWarning):
    """Far fewer samples than features, with settings made for large batches.

    Far fewer is below an eighth: in the paper's networks, with batches of
    128, the last layers see a quarter of a sample for each feature.

    Given once in a process: each layer of a network would have its own. It
    takes a known batch size, which TensorFlow's `fit` often does not have.
    """

    was_given = False


@dataclasses.dataclass(frozen=True)
class Moments:
    """What is known of a batch; of all replicas that share it.

    Attributes:
        mean: Returns the mean, `(matrices, F)`, at the cost of a pass.
        deconv: Returns mean and D, `(matrices, F, F)`.
        variance: The mean variance of the channels that a D is for, about
            the mean of that D, `(matrices,)`, ridge included; of the pixels,
            so that it tells how that changes, not the trace of the
            covariance. A constant. None if it was not asked for.
    """

    mean: Callable[[], Tensor]
    deconv: Callable[[], tuple[Tensor, Tensor]]
    variance: Tensor | None


class Samples(NamedTuple):
    """What statistics are taken from: functions of the inputs.

    Attributes:
        patches: Returns `(..., C, taps)`.
        mean_patch: Returns the mean of these, `(C, taps)`.
        scale_pixels: Returns the channels of single positions, `(..., C)`,
            for the scale of a batch.
    """

    patches: Callable[[Tensor], Tensor]
    mean_patch: Callable[[Tensor], Tensor]
    scale_pixels: Callable[[Tensor], Tensor]


class BatchMoments:
    """Measures batches for one set of statistics.

    Args:
        layer: The `Whitening` layer, with all its settings.
        blocks: How features are dealt into blocks.
        samples: What is measured of the inputs.

    Call arguments:
        inputs: What is whitened.
        is_due: Where D will be asked for.
        with_variance: Whether the variance will be asked for.
    """

    def __init__(
        self,
        layer: Any,
        blocks: deconv_ops.Blocks,
        samples: Samples,
    ) -> None:
        self.layer = layer
        self.blocks = blocks
        self.samples = samples

    def __call__(
        self, inputs: Tensor, is_due: Any, with_variance: bool
    ) -> Moments:
        # Replicas talk to each other here, where they all come by: what is
        # returned may be called in a branch.
        if not self.layer.differentiate:
            inputs = ops.stop_gradient(inputs)
        index, count = replica() if self.layer.synchronized else (0, 1)
        share = inputs if count == 1 else _at_least_one(inputs)
        pixels = self._pixel_moments(share) if with_variance else None
        if count == 1:
            return Moments(
                lambda: self.mean(inputs),
                lambda: self.deconv(inputs),
                self._pool_channels(*pixels) if pixels else None,
            )
        shares = Shares(
            count, self.blocks, self.layer.statistics_dtype, with_variance
        )
        images = ops.shape(inputs)[0]
        total = shares.sum_where(
            is_due,
            lambda: self._share(share, shares, index, images, pixels),
            lambda: shares.pack_means(index, images, self.mean(share), pixels),
        )
        counts, means, scatter = shares.unpack(total)
        variance = None
        if with_variance:
            variance = self._pool_channels(
                *deconv_ops.pool_variances(counts, *shares.unpack_pixels(total))
            )
        return Moments(
            lambda: deconv_ops.pool_means(counts, means),
            lambda: self._pool(counts, means, scatter),
            variance,
        )

    def mean(self, inputs: Tensor) -> Tensor:
        """Returns the mean of `covariance`, at the cost of a pass."""
        inputs = ops.cast(inputs, self.layer.statistics_dtype)
        with full_precision():
            patch = self.samples.mean_patch(inputs)
        return deconv_ops.mean_of_blocks(patch, self.blocks)

    def covariance(self, inputs: Tensor) -> tuple[Any, Tensor, Tensor]:
        """Returns rows, mean and covariance, ridge included, of a batch."""
        columns = self._columns(inputs)
        with full_precision():
            mean = deconv_ops.mean(columns)
            return (
                columns.shape[1],
                mean,
                deconv_ops.covariance(columns, mean, self.layer.epsilon),
            )

    def deconv(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and D of a batch."""
        columns = self._columns(inputs)
        layer = self.layer

        def by_features() -> Tensor:
            covariance = deconv_ops.covariance(columns, mean, layer.epsilon)
            return self.root(covariance)

        def by_rows() -> Tensor:
            return deconv_ops.inverse_sqrt_of_rows(
                columns, mean, layer.epsilon, layer.num_iterations
            )

        with full_precision():
            mean = deconv_ops.mean(columns)
            has_few_rows = self.has_few_rows(inputs)
            return mean, cond(has_few_rows, by_rows, by_features)

    def root(self, covariance: Tensor) -> Tensor:
        """Returns D of a covariance with its ridge."""
        layer = self.layer
        settings = layer.num_iterations, layer.method
        with full_precision():
            # What is due on every step is not computed twice.
            if layer.period(self.blocks) == 1:
                return deconv_ops.inverse_sqrt(covariance, *settings)
            return traced_once(deconv_ops.inverse_sqrt, *settings)(covariance)

    def has_few_rows(self, inputs: Tensor) -> Any:
        """Whether D is computed by rows.

        A tensor while the batch size is unknown. That is for dense layers
        alone: a graph would hold both ways.
        """
        layer, blocks = self.layer, self.blocks
        if (
            len(inputs.shape) != 2
            or layer.method != "newton_schulz"
            or layer.num_iterations > _MOST_BY_ROWS
            or (layer.synchronized and replica()[1] > 1)
        ):
            return False
        rows = ops.shape(inputs)[0] * (blocks.count if blocks.shared else 1)
        return deconv_ops.are_few(rows, blocks.features)

    def _pixel_moments(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and variance of each channel, `(C,)` each."""
        # Constant, as the D that it is used with.
        pixels = self.samples.scale_pixels(ops.stop_gradient(inputs))
        pixels = ops.cast(pixels, self.layer.statistics_dtype)
        return mean_and_variance(reshape(pixels, (-1, self.blocks.channels)))

    def _pool_channels(self, means: Tensor, variances: Tensor) -> Tensor:
        """Returns `Moments.variance` of mean and variance of all channels."""
        blocks = self.blocks
        # Channels of one D are neighbours, unless there is but one D.
        pooled = average(reshape(variances, (blocks.matrices, -1)), axis=1)
        if blocks.shared and blocks.count > 1:
            # One mean is taken off all blocks: what it leaves of their own is
            # all that varies where each channel is constant.
            patch = ops.broadcast_to(
                ops.expand_dims(means, -1), (blocks.channels, blocks.taps)
            )
            pooled = pooled + deconv_ops.variance_of_blocks(patch, blocks)
        return pooled + self.layer.epsilon

    def _share(
        self,
        inputs: Tensor,
        shares: Shares,
        index: Tensor,
        images: Any,
        pixels: Any,
    ) -> Tensor:
        columns = self._columns(inputs, shares.count)
        rows = deconv_ops.rows(columns)
        if not isinstance(images, int):
            rows = rows * ops.cast(ops.minimum(images, 1), columns.dtype)
        with full_precision():
            return shares.pack(index, rows, columns, pixels)

    def _pool(
        self, counts: Tensor, means: Tensor, scatter: Tensor
    ) -> tuple[Tensor, Tensor]:
        with full_precision():
            mean, covariance = deconv_ops.pool(
                counts, means, scatter, self.layer.epsilon
            )
        return mean, self.root(covariance)

    def _columns(self, inputs: Tensor, replicas: int = 1) -> Tensor:
        inputs = ops.cast(inputs, self.layer.statistics_dtype)
        columns = deconv_ops.split_columns(
            self.samples.patches(inputs), self.blocks
        )
        self._check_rows(columns.shape[1], replicas, inputs)
        return columns

    def _check_rows(
        self, rows: int | None, replicas: int, inputs: Tensor
    ) -> None:
        if not isinstance(rows, int):
            return  # Unknown, or of an exported function.
        layer = self.layer
        if rows == 0:
            raise ValueError(
                f"Layer '{layer.name}' needs at least one sample per batch in "
                f"training. Received: inputs of shape {tuple(inputs.shape)}"
            )
        rows *= replicas
        is_large_batch = layer.num_iterations > 2 and layer.epsilon < 1e-2
        if 8 * rows < self.blocks.features and is_large_batch:
            _warn_of_small_batch(
                f"Layer '{layer.name}' whitens {self.blocks.features} "
                f"features by the statistics of {rows} samples, with settings "
                "made for large batches. For batches of 2 to 8 images, the "
                "paper uses num_iterations=2 and epsilon=1e-2. Received: "
                f"num_iterations={layer.num_iterations}, "
                f"epsilon={layer.epsilon:g}"
            )


def _at_least_one(inputs: Tensor) -> Tensor:
    """Returns inputs, a sample of zeros if there are none.

    The last batch of an epoch may have fewer samples than there are replicas.
    """
    if isinstance(inputs.shape[0], int):
        return inputs
    missing = ops.maximum(1 - ops.shape(inputs)[0], 0)
    rest = [(0, 0)] * (len(inputs.shape) - 1)
    return ops.pad(inputs, [(0, missing), *rest])


def _warn_of_small_batch(message: str) -> None:
    if not SmallBatchWarning.was_given:
        SmallBatchWarning.was_given = True
        warn(message, SmallBatchWarning)

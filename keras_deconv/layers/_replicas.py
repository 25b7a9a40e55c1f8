"""Statistics of a batch that is shared out among replicas."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._engine import all_reduce_sum
from keras_deconv._engine import cond
from keras_deconv._engine import may_reduce_in_branches
from keras_deconv._types import Tensor


@dataclasses.dataclass(frozen=True)
class Shares:
    """What replicas send each other of their shares: one vector a layer.

    Every replica fills in a vector, and these are summed. Rows and means go
    into a slot that the others leave at zero, so that all of them arrive;
    the scatter about that mean is added up.

    Attributes:
        count: How many replicas there are.
        blocks: The blocks of the layer.
        dtype: Of the vector.
        with_pixels: Whether mean and variance of each channel are sent too.
    """

    count: int
    blocks: deconv_ops.Blocks
    dtype: str
    with_pixels: bool

    def pack(
        self, index: Tensor, rows: Tensor, columns: Tensor, pixels: Any
    ) -> Tensor:
        """Returns the vector of the replica `index`, of its columns.

        Args:
            index: Of the replica.
            rows: How many of the columns' rows count.
            columns: `(matrices, rows, F)`.
            pixels: As in `pack_means`.
        """
        mean = deconv_ops.mean(columns)
        scatter = deconv_ops.scatter(columns, mean)
        slots = self.pack_means(index, rows, mean, pixels)
        return ops.concatenate([slots, ops.reshape(scatter, (-1,))])

    def pack_means(
        self, index: Tensor, rows: Tensor, mean: Tensor, pixels: Any
    ) -> Tensor:
        """Returns that vector without its end, which is the scatter.

        Args:
            index: Of the replica.
            rows: Its share of the batch, in rows or in images.
            mean: Of its columns.
            pixels: Mean and variance of its channels, or None.
        """
        rows = ops.reshape(ops.cast(rows, self.dtype), (1,))
        slot = ops.concatenate(
            [rows, ops.reshape(mean, (-1,)), *(pixels or ())]
        )
        is_mine = ops.cast(ops.equal(ops.arange(self.count), index), self.dtype)
        return ops.reshape(ops.expand_dims(is_mine, 1) * slot, (-1,))

    def unpack(self, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns rows and means of all replicas, and the whole scatter."""
        matrices, features = self.blocks.matrices, self.blocks.features
        slots, scatter = total[: self._slots], total[self._slots :]
        slots = ops.reshape(slots, (self.count, -1))
        means = slots[:, 1 : 1 + matrices * features]
        return (
            ops.stop_gradient(slots[:, 0]),
            ops.reshape(means, (self.count, matrices, features)),
            ops.reshape(scatter, (matrices, features, features)),
        )

    def unpack_pixels(self, total: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and variance of all channels, `(count, C)` each."""
        slots = ops.stop_gradient(total[: self._slots])
        slots = ops.reshape(slots, (self.count, -1))
        channels = self.blocks.channels
        return slots[:, -2 * channels : -channels], slots[:, -channels:]

    def sum_where(
        self,
        is_due: Any,
        vector: Callable[[], Tensor],
        means: Callable[[], Tensor],
    ) -> Tensor:
        """Returns the sum of the vectors where it is due.

        Else that of the means alone, with zeros for the scatter.
        """
        scatter = self.blocks.matrices * self.blocks.features**2

        def lengthened(slots: Tensor) -> Tensor:
            return ops.pad(slots, ((0, scatter),))

        if may_reduce_in_branches():
            return cond(
                is_due,
                lambda: all_reduce_sum(vector()),
                lambda: lengthened(all_reduce_sum(means())),
            )
        # The zeros are sent too.
        return all_reduce_sum(cond(is_due, vector, lambda: lengthened(means())))

    @property
    def _slots(self) -> int:
        """Length of all slots."""
        length = 1 + self.blocks.matrices * self.blocks.features
        if self.with_pixels:
            length += 2 * self.blocks.channels
        return self.count * length

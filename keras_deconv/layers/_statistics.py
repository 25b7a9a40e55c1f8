"""The statistics that a deconvolution layer keeps of its inputs."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._engine import Numbers
from keras_deconv._engine import as_constant
from keras_deconv._engine import as_varying
from keras_deconv._engine import cond
from keras_deconv._engine import full_precision
from keras_deconv._engine import is_recomputing
from keras_deconv._engine import lerp
from keras_deconv._engine import recomputed
from keras_deconv._engine import reshape
from keras_deconv._engine import where
from keras_deconv._engine import with_sizes_of_gradient
from keras_deconv._types import Tensor
from keras_deconv.layers._moments import BatchMoments
from keras_deconv.layers._moments import Samples

# How many times the variance may have been greater when D was new, for a batch
# to be scaled to that: what varies less, such as a single row, has no scale.
_MOST = 16


class RunningStatistics:
    """Mean and D of what a layer whitens: of a batch, and on average.

    Calling it returns a kernel and a bias with mean and D for these inputs
    folded in. In training they are those of the batch, and the averages move
    towards them; else they are the averages.

    A batch with NaN or Inf leaves all averages as they were: with loss
    scaling such batches are part of ordinary training in float16.

    Weights, added to the layer, which has attributes of their names too, none
    trainable, of the statistics' dtype:

    * `moving_mean`, `(matrices, F)`, starts at zero;
    * `moving_deconv`, `(matrices, F, F)`, starts at the identity;
    * `batch_deconv`, the last D computed, and `batch_variance`,
      `(matrices,)`, of the batch it was computed of, zero while there is
      none, if the period is above 1;
    * `moving_variance`, `(matrices,)`, if the period is above 1, too: one at
      first, zero while it is unknown;
    * `step`, training steps so far, if the period is above 1 or
      `freeze_after` is given. In float32, which counts to 16 million: loops
      over the parameters of a PyTorch model (averages of models, gradients
      for all) take no whole numbers.

    Args:
        layer: The `Whitening` layer, with all its settings.
        blocks: How features are dealt into blocks.
        samples: What they are taken from.
        prefix: Goes before the names of the weights.

    Attributes:
        batch: Measures batches.
        moving: The weights `moving_mean` and `moving_deconv`.
        batch_deconv, batch_variance, moving_variance, step: The weights of
            these names, or None.
        period: T, `update_every` of the layer for these blocks.
        observer: Takes the inputs and returns mean and D in place of all
            else, or None: for transforms, which estimate statistics.

    Call arguments:
        inputs: What is whitened.
        training: Whether to use, and learn from, the statistics of the
            batch.
        kernel: w, `(*kernel_size, C / groups, O)`.
        bias: `(O,)`, or None.
    """

    def __init__(
        self,
        layer: Any,
        blocks: deconv_ops.Blocks,
        samples: Samples,
        prefix: str = "",
    ) -> None:
        self.layer = layer
        self.blocks = blocks
        self.batch = BatchMoments(layer, blocks, samples)
        self.observer: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
        self.moving = self._add_pair(f"{prefix}moving")
        self.batch_deconv: Any = None
        self.batch_variance: Any = None
        self.moving_variance: Any = None
        self.step: Any = None
        self.period = layer.period(blocks)
        if self.period > 1:
            self.batch_deconv = self._add_deconv(f"{prefix}batch_deconv")
            self.batch_variance = self._add_variance(
                f"{prefix}batch_variance", "zeros"
            )
            # One, for which the identity is D.
            self.moving_variance = self._add_variance(
                f"{prefix}moving_variance", "ones"
            )
        if self.period > 1 or layer.freeze_after is not None:
            self.step = self._add_weight(
                f"{prefix}step", initializer="zeros", dtype="float32"
            )
            counted = [self.step]
            if self.batch_deconv is not None:
                counted.append(self.batch_variance)
            self._numbers = Numbers(*counted)
            # What was read last, where PyTorch knows it, for a call that is
            # computed again.
            self._first_schedule: tuple[Any, Any] = (True, True)

    def __call__(
        self, inputs: Tensor, training: bool | None, kernel: Any, bias: Any
    ) -> tuple[Tensor, Tensor]:
        inputs = ops.convert_to_tensor(inputs)
        kernel, bias = self._cast(kernel), self._cast(bias)
        with full_precision():
            mean, folded = self.whiten(
                inputs, training, deconv_ops.split_kernel(kernel, self.blocks)
            )
            return deconv_ops.merge_folded(
                folded,
                bias,
                mean,
                self.blocks,
                tuple(kernel.shape),
                self.layer.compute_dtype,
            )

    def whiten(
        self, inputs: Tensor, training: bool | None, kernel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the mean, and `D w` of a kernel in blocks."""
        if self.observer is not None:
            mean, deconv = self.observer(inputs)
        elif not training or not self.layer.trainable:
            mean, deconv = map(as_constant, self.moving)
        elif self.step is not None:
            return self._follow_schedule(inputs, kernel)
        else:
            mean, deconv = self.batch(inputs, True, False).deconv()
            if not is_recomputing():
                self._record(mean, deconv)
        return mean, deconv_ops.product(deconv, kernel)

    def _follow_schedule(
        self, inputs: Tensor, kernel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Computes D on steps where it is due; others cost far less.

        Mean and scale are those of the batch on every step. With those of
        steps ago, training at a rate of 0.1 goes wrong within a few steps:
        nothing keeps a deep network from growing. What is left of D, its
        directions, may be as old.

        `D w` is a part of either branch, so that a step whose D is not new
        computes no gradient of D, which costs as much again; so is the mean,
        for a branch has one gradient of the inputs, of their size, in any
        case. All else is outside: on TensorFlow, each tensor of a branch that
        a gradient needs takes a handful of nodes.
        """
        numbers = self._numbers.read()
        is_thawed, is_due = self._read_schedule(*numbers)
        again = is_recomputing()
        if again:
            # The last D is as it was then, or made anew.
            is_thawed, is_due = self._first_schedule
        elif isinstance(is_due, bool):
            self._first_schedule = is_thawed, is_due
        last = self.batch_deconv
        moments = self.batch(
            with_sizes_of_gradient(inputs), is_due, last is not None
        )
        if last is not None:
            last = ops.convert_to_tensor(last)

        def due() -> tuple[Tensor, ...]:
            mean, deconv = moments.deconv()
            return mean, deconv, deconv_ops.product(deconv, kernel)

        def alike(*values: Tensor) -> tuple[Tensor, ...]:
            if self.layer.synchronized:
                return values
            return tuple(as_varying(each, inputs) for each in values)

        def idle() -> tuple[Tensor, ...]:
            # Constant in the branch itself, which TensorFlow differentiates.
            ratio = (
                ops.convert_to_tensor(self.batch_variance) / moments.variance
            )
            ratio = ops.minimum(ratio, _MOST)
            deconv = ops.stop_gradient(last * _scale(ratio))
            folded = deconv_ops.product(deconv, kernel)
            return alike(moments.mean(), last, folded)

        def frozen() -> tuple[Tensor, ...]:
            mean, deconv = map(ops.stop_gradient, self.moving_values())
            folded = deconv_ops.product(deconv, kernel)
            return alike(mean, deconv if last is None else last, folded)

        def other() -> tuple[Tensor, ...]:
            return frozen() if last is None else cond(is_thawed, idle, frozen)

        mean, deconv, folded = cond(is_due, recomputed(due), other)
        if again:
            return mean, folded
        if is_thawed is not False:
            if last is None:
                self._record(mean, deconv, is_thawed)
            else:
                self._record_scaled(
                    mean,
                    deconv,
                    moments.variance,
                    is_thawed,
                    is_due,
                    numbers[0],
                )
        self.step.assign(ops.convert_to_tensor(self.step) + 1)
        # A batch that is due may have been of no use.
        if is_due is False:
            self._numbers.keep(numbers[0] + 1, *numbers[1:])
        return mean, folded

    def _read_schedule(
        self, step: Any, last_variance: Any = None
    ) -> tuple[Any, Any]:
        """Returns whether averages move, and whether D is due."""
        layer = self.layer
        # An average of models need not have made a whole step.
        step = round(step) if isinstance(step, float) else ops.round(step)
        is_thawed: Any = True
        if layer.freeze_after is not None:
            is_thawed = step < layer.freeze_after
        if self.batch_deconv is None:
            return is_thawed, is_thawed
        is_due = (
            (step < layer.warmup_steps)
            | (step % self.period == 0)
            # As long as there is no last D.
            | (last_variance == 0)
        )
        return is_thawed, is_thawed & is_due

    def assign(self, mean: Any, deconv: Any) -> None:
        """Sets the averages; the next training step computes a D."""
        # JAX would give variables the same buffer, and a step that donates
        # its state cannot donate that twice.
        self.moving[0].assign(ops.copy(mean))
        self.moving[1].assign(ops.copy(deconv))
        for variance in (self.batch_variance, self.moving_variance):
            if variance is not None:
                variance.assign(ops.zeros(variance.shape, variance.dtype))

    def _record(
        self, mean: Tensor, deconv: Tensor, is_thawed: Any = True
    ) -> None:
        """Moves the averages towards a batch, unless it is not finite.

        Args:
            mean: Of the batch.
            deconv: Of the batch.
            is_thawed: Whether averages move.
        """
        is_valid = _both(is_thawed, _are_finite(mean, deconv))
        now = 1 - self.layer.momentum
        self._move(self.moving[0], mean, is_valid, now)
        if self.layer.update_every != 1:
            now = self._weight_at_unit_scale(ops.stop_gradient(deconv), now)
        self._move(self.moving[1], deconv, is_valid, now)

    def _record_scaled(
        self,
        mean: Tensor,
        deconv: Tensor,
        variance: Tensor,
        is_thawed: Any,
        is_due: Any,
        step: Any,
    ) -> None:
        """Does the same where D may be old, and keeps a new one.

        D is averaged as if it were of unit scale, and divided by the root of
        the mean variance. The mean of D itself is that of one over the
        standard deviation: of inputs that are nearly constant in some batches
        it is far too large for the others.

        Args:
            mean: Of the batch.
            deconv: The last D, of this batch if it is due.
            variance: Of the batch.
            is_thawed: Whether averages move.
            is_due: Whether D is new.
            step: Training steps before this one.
        """
        may_be_new = is_due is not False
        values = (mean, variance, deconv) if may_be_new else (mean, variance)
        is_finite = _are_finite(*values)
        is_valid = _both(is_thawed, is_finite)
        now = 1 - self.layer.momentum
        self._move(self.moving[0], mean, is_valid, now)
        old_variance = ops.convert_to_tensor(self.moving_variance)
        before = old_variance
        if may_be_new:
            before = where(old_variance > 0, old_variance, variance)
        after = lerp(before, variance, now)
        after = where(is_valid, after, old_variance)
        old = ops.convert_to_tensor(self.moving[1])
        moved = old * _scale(before / after)
        # Not before the ratio: PyTorch assigns in place, to `before` as well.
        self.moving_variance.assign(after)
        if may_be_new:
            deconv = ops.stop_gradient(deconv)
            is_new = _both(is_due, is_finite)
            for kept, value in (
                (self.batch_deconv, deconv),
                (self.batch_variance, variance),
            ):
                kept.assign(where(is_new, value, ops.convert_to_tensor(kept)))
            deconv = deconv * _scale(variance / after)
            moved = lerp(moved, deconv, self._weight_of_new(step, is_due))
            moved = where(is_valid, moved, old)
        self.moving[1].assign(moved)

    def _move(
        self, moving: Any, value: Tensor, is_valid: Tensor, weight: Any
    ) -> None:
        """Moves an average towards a value, where that is valid."""
        old = ops.convert_to_tensor(moving)
        moved = lerp(old, ops.stop_gradient(value), weight)
        moving.assign(where(is_valid, moved, old))

    def _weight_at_unit_scale(self, deconv: Tensor, now: float) -> Tensor:
        """Returns the weights that average D at unit scale.

        Let a D have unit scale where its trace is F: it is then D over d, its
        mean diagonal, and 1 / d stands for a standard deviation. With M and m
        of the average, what is wanted is the average of the two D of unit
        scale over that of the two deviations,

            ((1 - now) M / m + now D / d) / ((1 - now) / m + now / d),

        which is an average of M and D with another weight.
        """
        new = now * _trace(ops.convert_to_tensor(self.moving[1]))
        return new / ((1 - now) * _trace(deconv) + new)

    def _weight_of_new(self, step: Any, is_due: Any) -> Any:
        """Returns the weight of a D in the average, of all steps it is for."""
        layer = self.layer
        now, later = 1 - layer.momentum, 1 - layer.momentum**self.period
        is_early = step < layer.warmup_steps
        if is_due is True:
            return now if is_early else later
        is_early, is_due = (
            ops.cast(each, layer.statistics_dtype)
            for each in (is_early, is_due)
        )
        return (later + (now - later) * is_early) * is_due

    def moving_values(self) -> tuple[Tensor, Tensor]:
        """Returns the moving mean and D, as tensors."""
        # JAX's `where` and `cond` take tensors, but no variables.
        mean, deconv = map(ops.convert_to_tensor, self.moving)
        return mean, deconv

    def fold(self, kernel: Any, bias: Any) -> tuple[Tensor, Tensor]:
        """Folds the averages into kernel and bias, in the statistics' dtype."""
        kernel, bias = self._cast(kernel), self._cast(bias)
        with full_precision():
            return deconv_ops.fold(
                kernel,
                bias,
                *self.moving_values(),
                self.blocks,
                self.layer.compute_dtype,
            )

    def unfold(self, kernel: Any, bias: Any) -> tuple[Tensor, Tensor]:
        """Returns kernel and bias that the moving values fold to these."""
        kernel = self._cast(kernel)
        with full_precision():
            return deconv_ops.unfold(
                kernel,
                bias,
                *self.moving_values(),
                self.blocks,
                self.layer.compute_dtype,
            )

    def _cast(self, weight: Any) -> Any:
        if weight is None:
            return None
        return ops.cast(weight, self.layer.statistics_dtype)

    def _add_pair(self, prefix: str) -> tuple[Any, Any]:
        matrices, features = self.blocks.matrices, self.blocks.features
        mean = self._add_weight(
            f"{prefix}_mean",
            shape=(matrices, features),
            initializer="zeros",
            **self._common(),
        )
        return mean, self._add_deconv(f"{prefix}_deconv")

    def _add_deconv(self, name: str) -> Any:
        matrices, features = self.blocks.matrices, self.blocks.features
        return self._add_weight(
            name,
            shape=(matrices, features, features),
            initializer=_identity,
            **self._common(),
        )

    def _add_variance(self, name: str, initializer: str) -> Any:
        return self._add_weight(
            name,
            shape=(self.blocks.matrices,),
            initializer=initializer,
            **self._common(),
        )

    def _add_weight(self, name: str, **kwargs: Any) -> Any:
        weight = self.layer.add_weight(name=name, trainable=False, **kwargs)
        # TensorFlow's checkpoints find weights by the layer's attributes.
        setattr(self.layer, name, weight)
        return weight

    def _common(self) -> dict[str, Any]:
        return {
            "dtype": self.layer.statistics_dtype,
            # Statistics of each replica by itself would drift apart.
            "aggregation": "none" if self.layer.synchronized else "mean",
        }


def _trace(matrices: Tensor) -> Tensor:
    """Returns the trace of each matrix, `(matrices, 1, 1)`."""
    return reshape(ops.trace(matrices, axis1=1, axis2=2), (-1, 1, 1))


def _scale(variance_ratio: Tensor) -> Tensor:
    """Returns a factor for each D, of the ratio of two variances."""
    return reshape(ops.sqrt(variance_ratio), (-1, 1, 1))


def _are_finite(*values: Tensor) -> Tensor:
    """Whether all elements of all tensors are finite, and their sum too."""
    # Of a single element, PyTorch starts one operation less.
    total, *rest = (
        value[0] if value.shape == (1,) else ops.sum(value) for value in values
    )
    for each in rest:
        total = total + each
    return total - total == 0


def _both(this: Any, other: Tensor) -> Tensor:
    return other if this is True else ops.logical_and(this, other)


def _identity(shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    # Tiled, not broadcast: torch cannot assign to a broadcast tensor.
    return ops.tile(ops.eye(shape[-1], dtype=dtype), (shape[0], 1, 1))

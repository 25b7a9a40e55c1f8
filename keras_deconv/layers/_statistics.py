"""The statistics that a deconvolution layer keeps of its inputs."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._engine import full_precision
from keras_deconv._types import Tensor
from keras_deconv.layers._moments import BatchMoments


class RunningStatistics:
    """Mean and D of what a layer whitens: of a batch, and on average.

    Calling it returns a kernel and a bias with mean and D for these inputs
    folded in. In training they are those of the batch, and the averages move
    towards them; else they are the averages.

    A batch with NaN or Inf leaves all averages as they were: with loss
    scaling such batches are part of ordinary training in float16.

    Weights, added to the layer, none trainable, of the statistics' dtype:

    * `moving_mean`, `(matrices, F)`, starts at zero;
    * `moving_deconv`, `(matrices, F, F)`, starts at the identity;
    * `batch_deconv`, the last D computed, `batch_variance`, `(matrices,)`,
      of the batch it was computed of, and `moving_variance`, both zero while
      there is none, if the period is above 1;
    * `step`, training steps so far, if the period is above 1 or
      `freeze_after` is given.

    Args:
        layer: The `Whitening` layer, with all its settings.
        blocks: How features are dealt into blocks.
        patches: Takes inputs and returns `(..., C, taps)`.
        pixels: Takes inputs and returns the channels of single positions,
            `(..., C, 1)`. By default the patches, which then are that.
        prefix: Goes before the names of the weights.

    Attributes:
        batch: Measures batches.
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
        patches: Callable[[Tensor], Tensor],
        pixels: Callable[[Tensor], Tensor] | None = None,
        prefix: str = "",
    ) -> None:
        self.layer = layer
        self.blocks = blocks
        self.batch = BatchMoments(layer, blocks, patches, pixels or patches)
        self.observer: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
        self.moving = self._add_pair(f"{prefix}moving")
        self.last: Any = None
        self.last_variance: Any = None
        self.variance: Any = None
        self.step: Any = None
        self.period = layer.period(blocks)
        if self.period > 1:
            self.last = self._add_deconv(f"{prefix}batch_deconv")
            self.last_variance = self._add_variance(f"{prefix}batch_variance")
            self.variance = self._add_variance(f"{prefix}moving_variance")
        if self.period > 1 or layer.freeze_after is not None:
            self.step = layer.add_weight(
                name=f"{prefix}step",
                initializer="zeros",
                trainable=False,
                dtype="int",
            )

    def __call__(
        self, inputs: Tensor, training: bool | None, kernel: Any, bias: Any
    ) -> tuple[Tensor, Tensor]:
        kernel, bias = self._cast(kernel), self._cast(bias)
        with full_precision():
            mean, folded = self.whiten(
                inputs, training, deconv_ops.split_kernel(kernel, self.blocks)
            )
            bias = deconv_ops.fold_mean(folded, bias, mean, self.blocks)
        shape = tuple(kernel.shape)
        return deconv_ops.merge_kernel(folded, self.blocks, shape), bias

    def whiten(
        self, inputs: Tensor, training: bool | None, kernel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the mean, and `D w` of a kernel in blocks."""
        if self.observer is not None:
            mean, deconv = self.observer(inputs)
        elif not training or not self.layer.trainable:
            mean, deconv = self.moving_values()
        elif self.step is not None:
            step = ops.convert_to_tensor(self.step)
            return self._follow_schedule(inputs, step, kernel)
        else:
            mean, deconv = self.batch(inputs, True, False).deconv()
            self._record(mean, deconv, _all_finite(mean, deconv))
        return mean, deconv_ops.product(deconv, kernel)

    def _follow_schedule(
        self, inputs: Tensor, step: Tensor, kernel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Computes D where the schedule has it; the other branch is free.

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
        layer = self.layer
        is_due = is_thawed = True
        if layer.freeze_after is not None:
            is_due = is_thawed = step < layer.freeze_after
        if self.last is not None:
            is_due = ops.logical_or(
                step < layer.warmup_steps, step % self.period == 0
            )
            is_new = ops.any(ops.equal(self.last_variance, 0))
            is_due = ops.logical_and(is_thawed, ops.logical_or(is_due, is_new))
        moments = self.batch(inputs, is_due, self.last is not None)

        def frozen() -> tuple[Tensor, Tensor]:
            # Copies: on PyTorch, old values are the variables themselves,
            # which are assigned to before the backward pass needs them.
            mean, deconv = map(ops.copy, self.moving_values())
            return mean, deconv

        def idle() -> tuple[Tensor, Tensor]:
            if self.last is None:
                return frozen()
            value = moments.mean(), self._rescaled(moments.variance)
            if layer.freeze_after is None:
                return value
            return _choose(is_thawed, value, frozen())

        def due_branch() -> tuple[Tensor, ...]:
            mean, deconv = moments.deconv()
            return mean, deconv, deconv_ops.product(deconv, kernel)

        def idle_branch() -> tuple[Tensor, ...]:
            mean, deconv = idle()
            # Constant in the branch itself, which TensorFlow differentiates.
            deconv = ops.stop_gradient(deconv)
            return mean, deconv, deconv_ops.product(deconv, kernel)

        mean, deconv, folded = ops.cond(is_due, due_branch, idle_branch)
        is_finite = _all_finite(mean, deconv)
        if self.last is not None:
            is_finite = ops.logical_and(is_finite, _is_finite(moments.variance))
            is_valid = ops.logical_and(is_due, is_finite)
            _assign_where(is_valid, self.last, ops.stop_gradient(deconv))
            _assign_where(is_valid, self.last_variance, moments.variance)
        is_valid = ops.logical_and(is_thawed, is_finite)
        self._record(mean, deconv, is_valid, moments.variance)
        self.step.assign(step + 1)
        return mean, folded

    def _rescaled(self, variance: Tensor) -> Tensor:
        """Returns the last D, scaled to a batch of this variance."""
        last, last_variance = map(
            ops.convert_to_tensor, (self.last, self.last_variance)
        )
        return last * _scale(last_variance / variance)

    def assign(self, mean: Any, deconv: Any) -> None:
        """Sets the averages; the next training step computes a D."""
        # JAX would give variables the same buffer, and a step that donates
        # its state cannot donate that twice.
        self.moving[0].assign(ops.copy(mean))
        self.moving[1].assign(ops.copy(deconv))
        for variance in (self.last_variance, self.variance):
            if variance is not None:
                variance.assign(ops.zeros(variance.shape, variance.dtype))

    def _record(
        self,
        mean: Tensor,
        deconv: Tensor,
        is_valid: Tensor,
        variance: Tensor | None = None,
    ) -> None:
        """Moves the averages towards mean and D, where these are valid.

        With variances, D is averaged as if it were of unit scale, and divided
        by the root of the mean variance. The mean of D itself is that of one
        over the standard deviation: of inputs that are nearly constant in
        some batches it is far too large for the others.
        """
        # Of a number, `ops.cast` makes a float32 tensor first.
        decay = ops.convert_to_tensor(
            self.layer.momentum, self.layer.statistics_dtype
        )
        mean, deconv = map(ops.stop_gradient, (mean, deconv))
        old_mean, old = self.moving_values()
        _assign_where(
            is_valid, self.moving[0], old_mean * decay + mean * (1 - decay)
        )
        if variance is not None:
            last = ops.convert_to_tensor(self.variance)
            last = ops.where(ops.equal(last, 0), variance, last)
            moved = last * decay + variance * (1 - decay)
            _assign_where(is_valid, self.variance, moved)
            old = old * _scale(last / moved)
            deconv = deconv * _scale(variance / moved)
        _assign_where(
            is_valid, self.moving[1], old * decay + deconv * (1 - decay)
        )

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
                kernel, bias, *self.moving_values(), self.blocks
            )

    def unfold(self, kernel: Any, bias: Any) -> tuple[Tensor, Tensor]:
        """Returns kernel and bias that the moving values fold to these."""
        kernel = self._cast(kernel)
        with full_precision():
            return deconv_ops.unfold(
                kernel, bias, *self.moving_values(), self.blocks
            )

    def _cast(self, weight: Any) -> Any:
        if weight is None:
            return None
        return ops.cast(weight, self.layer.statistics_dtype)

    def _add_pair(self, prefix: str) -> tuple[Any, Any]:
        matrices, features = self.blocks.matrices, self.blocks.features
        mean = self.layer.add_weight(
            name=f"{prefix}_mean",
            shape=(matrices, features),
            initializer="zeros",
            **self._common(),
        )
        return mean, self._add_deconv(f"{prefix}_deconv")

    def _add_deconv(self, name: str) -> Any:
        matrices, features = self.blocks.matrices, self.blocks.features
        return self.layer.add_weight(
            name=name,
            shape=(matrices, features, features),
            initializer=_identity,
            **self._common(),
        )

    def _add_variance(self, name: str) -> Any:
        return self.layer.add_weight(
            name=name,
            shape=(self.blocks.matrices,),
            initializer="zeros",
            **self._common(),
        )

    def _common(self) -> dict[str, Any]:
        return {
            "trainable": False,
            "dtype": self.layer.statistics_dtype,
            # Statistics of each replica by itself would drift apart.
            "aggregation": "none" if self.layer.synchronized else "mean",
        }


def _choose(
    condition: Tensor, this: tuple[Tensor, ...], other: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    mean, deconv = (
        ops.where(condition, a, b) for a, b in zip(this, other, strict=True)
    )
    return mean, deconv


def _scale(variance_ratio: Tensor) -> Tensor:
    """Returns a factor for each D, of the ratio of two variances."""
    return ops.reshape(ops.sqrt(variance_ratio), (-1, 1, 1))


def _all_finite(mean: Tensor, deconv: Tensor) -> Tensor:
    return ops.logical_and(_is_finite(mean), _is_finite(deconv))


def _is_finite(value: Tensor) -> Tensor:
    return ops.isfinite(ops.sum(value))


def _assign_where(condition: Tensor, variable: Any, new: Tensor) -> None:
    old = ops.convert_to_tensor(variable)
    variable.assign(ops.where(condition, new, old))


def _identity(shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    # Tiled, not broadcast: torch cannot assign to a broadcast tensor.
    return ops.tile(ops.eye(shape[-1], dtype=dtype), (shape[0], 1, 1))

"""The statistics that a deconvolution layer keeps of its inputs."""

import warnings
from collections.abc import Callable
from typing import Any
from typing import TypeAlias

from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._engine import full_precision
from keras_deconv._engine import replica
from keras_deconv._types import Tensor
from keras_deconv.layers._replicas import Shares

# What is done with mean and D.
Use: TypeAlias = Callable[[tuple[Tensor, Tensor]], tuple[Tensor, ...]]


class SmallBatchWarning(UserWarning):
    """Far fewer samples than features, with settings made for large batches.

    Far fewer is below an eighth: in the paper's networks, with batches of
    128, the last layers see a quarter of a sample for each feature.

    Given once in a process: each layer of a network would have its own. It
    takes a known batch size, which TensorFlow's `fit` often does not have.
    """

    was_given = False


class RunningStatistics:
    """Mean and D of what a layer whitens: of a batch, and on average.

    Calling it hands mean and D for these inputs to what uses them. In
    training they are those of the batch, and the averages move towards them;
    else they are the averages.

    A batch with NaN or Inf leaves all averages as they were: with loss
    scaling such batches are part of ordinary training in float16.

    Weights, added to the layer, none trainable, of the statistics' dtype:

    * `moving_mean`, `(matrices, F)`, starts at zero;
    * `moving_deconv`, `(matrices, F, F)`, starts at the identity;
    * `batch_deconv`, the last D computed, if `update_every > 1`;
    * `step`, training steps so far, if `update_every > 1` or `freeze_after`
      is given.

    Args:
        layer: The `Whitening` layer, with all its settings.
        blocks: How features are dealt into blocks.
        patches: Takes inputs and returns `(..., C, taps)`.
        prefix: Goes before the names of the weights.

    Attributes:
        observer: Takes the inputs and returns mean and D in place of all
            else, or None: for transforms, which estimate statistics.

    Call arguments:
        inputs: What is whitened.
        training: Whether to use, and learn from, the statistics of the
            batch.
        use: Takes mean and D, as a pair, and returns a tuple of tensors:
            the result of the call. It runs in the branch of the schedule
            that is taken, so that a step whose D is not new computes no
            gradient of D either, which costs as much as `D w`.
    """

    def __init__(
        self,
        layer: Any,
        blocks: deconv_ops.Blocks,
        patches: Callable[[Tensor], Tensor],
        prefix: str = "",
    ) -> None:
        self.layer = layer
        self.blocks = blocks
        self.patches = patches
        self.observer: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
        self.moving = self._add_pair(f"{prefix}moving")
        self.last: Any = None
        self.step: Any = None
        if layer.update_every > 1:
            self.last = self._add_deconv(f"{prefix}batch_deconv")
        if layer.update_every > 1 or layer.freeze_after is not None:
            self.step = layer.add_weight(
                name=f"{prefix}step",
                initializer="zeros",
                trainable=False,
                dtype="int",
            )

    def __call__(
        self, inputs: Tensor, training: bool | None, use: Use
    ) -> tuple[Tensor, ...]:
        if self.observer is not None:
            return use(self.observer(inputs))
        if not training or not self.layer.trainable:
            return use(self.moving_values())
        if self.step is None:
            _, moments = self._measures(inputs, True)
            value = self._whiten(moments)
            is_valid = _all_finite(value)
            self._record(value, (self.layer.momentum,) * 2, (is_valid,) * 2)
            return use(value)
        return self._follow_schedule(
            inputs, ops.convert_to_tensor(self.step), use
        )

    def _follow_schedule(
        self, inputs: Tensor, step: Tensor, use: Use
    ) -> tuple[Tensor, ...]:
        """Computes D where the schedule has it; the other branch is free.

        The mean is that of the batch on every step. With a mean of steps
        ago, training at a rate of 0.1 goes wrong within a few steps; D may
        be as old.
        """
        layer = self.layer
        is_thawed, decay = True, layer.momentum
        if layer.freeze_after is not None:
            is_thawed = step < layer.freeze_after
        is_due = is_thawed
        if self.last is not None:
            warming_up = step < layer.warmup_steps
            is_due = ops.logical_and(
                is_thawed,
                ops.logical_or(warming_up, step % layer.update_every == 0),
            )
            # An average over every T-th step is to be as long in steps.
            decay = ops.where(
                warming_up,
                self._decay(layer.momentum),
                self._decay(layer.momentum**layer.update_every),
            )
        mean, moments = self._measures(inputs, is_due)

        # Copies: on PyTorch, old values are the variables themselves, which
        # are assigned to before the backward pass needs them.
        def frozen() -> tuple[Tensor, Tensor]:
            return _constant(tuple(map(ops.copy, self.moving_values())))

        def idle() -> tuple[Tensor, Tensor]:
            if self.last is None:
                return frozen()
            last = ops.copy(ops.convert_to_tensor(self.last))
            value = mean(), ops.stop_gradient(last)
            if layer.freeze_after is None:
                return value
            return _choose(is_thawed, value, frozen())

        def branch(value: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            return *_constant(value), *use(value)

        new_mean, new_deconv, *used = ops.cond(
            is_due,
            lambda: branch(self._whiten(moments)),
            lambda: branch(idle()),
        )
        value = new_mean, new_deconv
        is_finite = _all_finite(value)
        self._record(
            value,
            (layer.momentum, decay),
            (
                ops.logical_and(is_thawed, is_finite),
                ops.logical_and(is_due, is_finite),
            ),
        )
        self.step.assign(step + 1)
        return tuple(used)

    def _whiten(
        self, moments: Callable[[], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        mean, covariance = moments()
        return mean, self.root(covariance)

    def _measures(
        self, inputs: Tensor, is_due: Any
    ) -> tuple[Callable[[], Tensor], Callable[[], tuple[Tensor, Tensor]]]:
        """Returns what returns the mean, and what mean and covariance.

        They are those of all replicas, which talk to each other before,
        where they all come by: what is returned may be called in a branch,
        the latter where `is_due`.
        """
        if not self.layer.differentiate:
            inputs = ops.stop_gradient(inputs)
        index, count = replica() if self.layer.synchronized else (0, 1)
        if count == 1:
            return (
                lambda: self._batch_mean(inputs),
                lambda: self.moments(inputs)[1:],
            )
        shares = Shares(count, self.blocks, self.layer.statistics_dtype)
        total = shares.sum_where(
            is_due,
            lambda: self._share(inputs, shares, index),
            lambda: shares.pack_mean(
                index, ops.shape(inputs)[0], self._batch_mean(inputs)
            ),
        )
        return (
            lambda: deconv_ops.pool_means(*shares.unpack(total)[:2]),
            lambda: self._pool(shares, total),
        )

    def moments(self, inputs: Tensor) -> tuple[Any, Tensor, Tensor]:
        """Returns rows, mean and covariance, ridge included, of a batch."""
        columns = self._columns(inputs)
        with full_precision():
            mean = deconv_ops.mean(columns)
            return (
                columns.shape[1],
                mean,
                deconv_ops.covariance(columns, mean, self.layer.epsilon),
            )

    def _share(self, inputs: Tensor, shares: Shares, index: Tensor) -> Tensor:
        columns = self._columns(inputs, shares.count)
        with full_precision():
            return shares.pack(index, columns)

    def _pool(self, shares: Shares, total: Tensor) -> tuple[Tensor, Tensor]:
        with full_precision():
            return deconv_ops.pool(*shares.unpack(total), self.layer.epsilon)

    def _batch_mean(self, inputs: Tensor) -> Tensor:
        """Returns the mean of `moments`, at the cost of a pass over the batch.

        Patches of the mean image are the mean of all patches.
        """
        inputs = ops.cast(inputs, self.layer.statistics_dtype)
        count = ops.cast(ops.shape(inputs)[0], inputs.dtype)
        image = ops.sum(inputs, axis=0, keepdims=True) / count
        columns = deconv_ops.split_columns(self.patches(image), self.blocks)
        return deconv_ops.mean(columns)

    def _columns(self, inputs: Tensor, replicas: int = 1) -> Tensor:
        inputs = ops.cast(inputs, self.layer.statistics_dtype)
        columns = deconv_ops.split_columns(self.patches(inputs), self.blocks)
        self._check_rows(columns.shape[1], replicas, inputs)
        return columns

    def root(self, covariance: Tensor) -> Tensor:
        """Returns D of a covariance with its ridge."""
        layer = self.layer
        with full_precision():
            return deconv_ops.inverse_sqrt(
                covariance, layer.num_iterations, layer.method
            )

    def assign(self, mean: Any, deconv: Any) -> None:
        """Sets the averages, and what was computed last."""
        # JAX would give variables the same buffer, and a step that donates
        # its state cannot donate that twice.
        self.moving[0].assign(ops.copy(mean))
        self.moving[1].assign(ops.copy(deconv))
        if self.last is not None:
            self.last.assign(ops.copy(deconv))

    def _record(
        self,
        value: tuple[Tensor, Tensor],
        decays: tuple[Tensor, Tensor],
        are_valid: tuple[Tensor, Tensor],
    ) -> None:
        """Moves the averages, of mean and of D, where these are valid."""
        value = _constant(value)
        for variable, new, decay, is_valid in zip(
            self.moving, value, decays, are_valid, strict=True
        ):
            decay = self._decay(decay)
            old = ops.convert_to_tensor(variable)
            moved = old * decay + new * (1 - decay)
            variable.assign(ops.where(is_valid, moved, old))
        if self.last is not None:
            last = ops.convert_to_tensor(self.last)
            self.last.assign(ops.where(are_valid[1], value[1], last))

    def _decay(self, value: Tensor) -> Tensor:
        # Of a number, `ops.cast` and `ops.where` make a float32 tensor first.
        return ops.convert_to_tensor(value, self.layer.statistics_dtype)

    def moving_values(self) -> tuple[Tensor, Tensor]:
        """Returns the moving mean and D, as tensors."""
        # JAX's `where` and `cond` take tensors, but no variables.
        mean, deconv = map(ops.convert_to_tensor, self.moving)
        return mean, deconv

    def fold(
        self, kernel: Any, bias: Any, value: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Folds mean and D into kernel and bias, in the statistics' dtype."""
        kernel = ops.cast(kernel, self.layer.statistics_dtype)
        if bias is not None:
            bias = ops.cast(bias, self.layer.statistics_dtype)
        with full_precision():
            return deconv_ops.fold(kernel, bias, *value, self.blocks)

    def unfold(self, kernel: Any, bias: Any) -> tuple[Tensor, Tensor]:
        """Returns kernel and bias that the moving values fold to these."""
        kernel = ops.cast(kernel, self.layer.statistics_dtype)
        with full_precision():
            return deconv_ops.unfold(
                kernel, bias, *self.moving_values(), self.blocks
            )

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

    def _common(self) -> dict[str, Any]:
        return {
            "trainable": False,
            "dtype": self.layer.statistics_dtype,
            # Statistics of each replica by itself would drift apart.
            "aggregation": "none" if self.layer.synchronized else "mean",
        }

    def _check_rows(
        self, rows: int | None, replicas: int, inputs: Tensor
    ) -> None:
        if rows is None:
            return
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


def _warn_of_small_batch(message: str) -> None:
    if not SmallBatchWarning.was_given:
        SmallBatchWarning.was_given = True
        warnings.warn(message, SmallBatchWarning, stacklevel=2)


def _constant(value: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    mean, deconv = map(ops.stop_gradient, value)
    return mean, deconv


def _choose(
    condition: Tensor, this: tuple[Tensor, ...], other: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    mean, deconv = (
        ops.where(condition, a, b) for a, b in zip(this, other, strict=True)
    )
    return mean, deconv


def _all_finite(values: tuple[Tensor, ...]) -> Tensor:
    mean, deconv = (ops.isfinite(ops.sum(value)) for value in values)
    return ops.logical_and(mean, deconv)


def _identity(shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    # Tiled, not broadcast: torch cannot assign to a broadcast tensor.
    return ops.tile(ops.eye(shape[-1], dtype=dtype), (shape[0], 1, 1))

"""The whitening that every deconvolution layer adds to its Keras class."""

import inspect
from typing import Any
from typing import ClassVar
from typing import get_args

import keras
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._checks import check_choice
from keras_deconv._checks import check_count
from keras_deconv._checks import check_decay
from keras_deconv._checks import check_flag
from keras_deconv._checks import check_positive
from keras_deconv._engine import warn_of_tf32
from keras_deconv._engine import warn_of_triton
from keras_deconv._types import RootMethod
from keras_deconv._types import Tensor
from keras_deconv.layers._statistics import RunningStatistics
from keras_deconv.layers._stored import load_weights
from keras_deconv.layers._stored import save_weights

_PACKAGE = __name__.partition(".")[0]
# Without `update_every`: T, and the most features of a D that is always new.
_PERIOD, _CHEAP = 8, 64


class Whitening(keras.layers.Layer):
    """Mixin: the settings of whitening. Refuses LoRA and quantization.

    Goes before the Keras class in the bases. In training, mean and D come
    from the batch, and their moving averages are updated; otherwise the
    moving averages are used. A layer that is not trainable
    (`trainable=False`) runs in inference mode, as `BatchNormalization` does.

    Statistics, root and folding are computed in float32 whatever the dtype
    policy (in float64 under `float64`); the result is cast to the compute
    dtype of the layer.

    Args:
        *args: Arguments of the Keras class.
        num_iterations: Newton-Schulz steps for D (section 3.3). More steps
            whiten directions of less variance, and amplify noise.
        epsilon: Ridge added to the covariance, in squared units of the
            inputs.
        momentum: Decay of the moving averages: the share of the old value
            that a training step keeps.
        method: How D is computed; see `keras_deconv.ops.inverse_sqrt`.
            `"minimax"` stands for five Newton-Schulz steps; `"eigh"` is
            exact and takes no account of `num_iterations`.
        update_every: T. D is computed on every step of the warm-up, then on
            every T-th training step; in between the last one is used, with
            mean and scale of each batch: D times the standard deviation of
            its own batch over that of this one. The moving D is an average
            at unit scale, over a moving standard deviation, so that a batch
            of hardly any variance, whose D is huge, counts no more than
            others; with T given as 1, D itself is averaged, as in the
            authors' code. With T above 1, a new D counts for the T steps that
            it stands for. None stands for
            8, and for 1 where D is cheap: of single positions, without
            patches to cut, and of 64 features at most; and in convolutions
            with at least three filters for each feature of one D.
            A layer that is called more than once in a step counts every
            call.
        warmup_steps: Length of the warm-up, in training steps. Weights grow
            faster than a stale D follows at the start.
        freeze_after: Training steps after which the moving averages are
            used for good (the paper: 200 for the first layer), or None.
        differentiate: Whether the gradient of the inputs goes through mean
            and D; in between two D, through the mean.
        synchronized: Whether replicas of a model that is trained on several
            devices whiten by the statistics of the whole batch, or each by
            those of its own share. JAX has no shares but in `shard_map`.
        **kwargs: More arguments of the Keras class.
    """

    plain_class: ClassVar[type[Any]]

    def __init__(
        self,
        *args: Any,
        num_iterations: int = 5,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        method: RootMethod = "newton_schulz",
        update_every: int | None = None,
        warmup_steps: int = 100,
        freeze_after: int | None = None,
        differentiate: bool = True,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.num_iterations = check_count("num_iterations", num_iterations)
        self.epsilon = check_positive("epsilon", epsilon)
        self.momentum = check_decay("momentum", momentum)
        self.method = check_choice("method", method, get_args(RootMethod))
        self.update_every = update_every
        if update_every is not None:
            self.update_every = check_count("update_every", update_every)
        self.warmup_steps = check_count("warmup_steps", warmup_steps, 0)
        self.freeze_after = freeze_after
        if freeze_after is not None:
            self.freeze_after = check_count("freeze_after", freeze_after)
        self.differentiate = check_flag("differentiate", differentiate)
        self.synchronized = check_flag("synchronized", synchronized)
        if method == "minimax" and num_iterations != 5:
            raise ValueError(
                "`num_iterations` must be 5 with the method 'minimax', which "
                "stands for five steps. "
                f"Received: num_iterations={num_iterations}"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if getattr(self.dtype_policy, "quantization_mode", None) is not None:
            raise self._unavailable("Quantization")
        warn_of_tf32()
        warn_of_triton()
        super().build(input_shape)

    @classmethod
    def setting_names(cls) -> frozenset[str]:
        """Returns the names of the arguments that Keras's class lacks."""
        return frozenset(
            name
            for base in cls.__mro__
            # Not those of a user's subclass.
            if issubclass(base, Whitening)
            and base.__module__.partition(".")[0] == _PACKAGE
            for name, parameter in inspect.signature(base).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        )

    def whitened_blocks(self, channels: int) -> list[deconv_ops.Blocks]:
        """Returns the blocks of each of the statistics, before `build`."""
        raise NotImplementedError

    def period(self, blocks: deconv_ops.Blocks) -> int:
        """Returns T of the statistics of these blocks."""
        if self.update_every is not None:
            return self.update_every
        return 1 if blocks.taps == 1 and blocks.features <= _CHEAP else _PERIOD

    def all_statistics(self) -> list[RunningStatistics]:
        """Returns the statistics of a built layer, in the order of use."""
        raise NotImplementedError

    @property
    def statistics_dtype(self) -> str:
        """The dtype of statistics, root and folding."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        # Autocast would hand kernel and bias to the fold already rounded.
        kwargs.setdefault("autocast", False)
        return super().add_weight(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        settings = {
            name: getattr(self, name) for name in sorted(self.setting_names())
        }
        return {**super().get_config(), **settings}

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        raise self._unavailable("LoRA")

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        raise self._unavailable("Quantization")

    def save_own_variables(self, store: dict[str, Any]) -> None:
        save_weights(self, store)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        load_weights(self, store)

    def _unavailable(self, feature: str) -> NotImplementedError:
        return NotImplementedError(
            f"{feature} is not available in a deconvolution layer, whose "
            "kernel changes with every batch: fold it first, and use the "
            f"plain layer. Received: layer '{self.name}'"
        )

    def _measures(self, training: bool | None) -> bool:
        """Whether a call looks at the statistics of its inputs."""
        return bool(training and self.trainable) or self.is_observed()

    def is_observed(self) -> bool:
        """Whether a call hands its inputs to an observer."""
        return any(each.observer is not None for each in self.all_statistics())

    def _finish(self, outputs: Tensor, bias: Tensor | None) -> Tensor:
        """Returns outputs with bias and activation."""
        if bias is not None:
            outputs = self._add_bias(outputs, bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _add_bias(self, outputs: Tensor, bias: Tensor) -> Tensor:
        if self._channels_first:
            bias = ops.reshape(bias, (-1, *(1,) * (len(outputs.shape) - 2)))
        return self._add(outputs, bias)

    def _add(self, outputs: Tensor, bias: Tensor) -> Tensor:
        """Returns outputs with a bias that has more bits than they."""
        rounded = ops.cast(bias, self.compute_dtype)
        outputs = ops.add(outputs, rounded)
        if self.compute_dtype != self.statistics_dtype:
            # It takes off the mean, which may be far larger than what is left.
            rest = ops.stop_gradient(bias - ops.cast(rounded, bias.dtype))
            outputs = ops.add(outputs, ops.cast(rest, self.compute_dtype))
        return outputs

    @property
    def _channels_first(self) -> bool:
        return getattr(self, "data_format", None) == "channels_first"

    def _known_channels(self, input_shape: tuple[int | None, ...]) -> int:
        least, most = self.input_spec.min_ndim, self.input_spec.max_ndim
        if not least <= len(input_shape) <= (most or len(input_shape)):
            raise ValueError(
                f"Layer '{self.name}' takes inputs of rank {least} "
                f"{f'to {most}' if most else 'or more'}. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        axis = 1 if self._channels_first else -1
        channels = input_shape[axis]
        if not channels:
            raise ValueError(
                f"The channels of the inputs of layer '{self.name}' (axis "
                f"{axis}) must be known, and at least one. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        return channels

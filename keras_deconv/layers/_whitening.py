"""The whitening that every deconvolution layer adds to its Keras class."""

import inspect
import math
from typing import Any
from typing import ClassVar

import keras
from keras import ops

from keras_deconv import ops as deconv_ops
from keras_deconv._types import Tensor
from keras_deconv.layers._checks import check_count
from keras_deconv.layers._checks import check_decay
from keras_deconv.layers._checks import check_positive
from keras_deconv.layers._twin import make_twin


class Whitening(keras.layers.Layer):
    """Mixin: multiplies with `D w` in place of the kernel `w`.

    Goes before the Keras class in the bases. In training, mean and D come
    from the batch, and their moving averages are updated; otherwise the
    moving averages are used. A layer that is not trainable
    (`trainable=False`) runs in inference mode, as `BatchNormalization` does.

    Statistics, root and folding are computed in float32 whatever the dtype
    policy (in float64 under `float64`); the result is cast to the compute
    dtype of the layer.

    A class that joins this mixin to a Keras class provides `plain_class`,
    `_make_blocks`, `_patches`, `_linear` and `_bias_shape`.

    Weights, besides those of the Keras class, both float32, non-trainable:

    * `moving_mean`, `(groups, F)`, starts at zero;
    * `moving_deconv`, `(groups, F, F)`, starts at the identity.
    """

    plain_class: ClassVar[type[Any]]

    def __init__(
        self,
        *args: Any,
        block_size: int = 64,
        num_iterations: int = 5,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.block_size = check_count("block_size", block_size)
        self.num_iterations = check_count("num_iterations", num_iterations)
        self.epsilon = check_positive("epsilon", epsilon)
        self.momentum = check_decay("momentum", momentum)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self._blocks = self._make_blocks(self._known_channels(input_shape))
        super().build(input_shape)
        groups, features = self._blocks.groups, self._blocks.features
        self.moving_mean = self.add_weight(
            name="moving_mean",
            shape=(groups, features),
            initializer="zeros",
            trainable=False,
            dtype="float32",
        )
        self.moving_deconv = self.add_weight(
            name="moving_deconv",
            shape=(groups, features, features),
            initializer=_identity,
            trainable=False,
            dtype="float32",
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if training and self.trainable:
            mean, deconv = self._batch_statistics(inputs)
            self._update(self.moving_mean, mean)
            self._update(self.moving_deconv, deconv)
        else:
            mean, deconv = self._moving_statistics()
        kernel, bias = self._fold(mean, deconv)
        outputs = self._linear(inputs, ops.cast(kernel, self.compute_dtype))
        bias = ops.reshape(bias, self._bias_shape)
        outputs = ops.add(outputs, ops.cast(bias, self.compute_dtype))
        return outputs if self.activation is None else self.activation(outputs)

    def fold(self) -> Any:
        """Returns the plain Keras layer that computes this one's inference.

        The moving mean and D go into its kernel and bias, so it always has
        a bias. It shares name, dtype policy and all else, but no weights.

        Raises:
            ValueError: If the layer is not built.
        """
        plain = make_twin(self, self.plain_class, use_bias=True)
        kernel, bias = self._fold(*self._moving_statistics())
        plain.kernel.assign(kernel)
        plain.bias.assign(bias)
        return plain

    @classmethod
    def setting_names(cls) -> frozenset[str]:
        """Returns the names of the arguments that Keras's class lacks."""
        return frozenset(
            name
            for base in cls.__mro__
            if issubclass(base, Whitening)
            for name, parameter in inspect.signature(base).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        )

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        # Autocast would hand kernel and bias to the fold already rounded.
        kwargs.setdefault("autocast", False)
        return super().add_weight(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "block_size": self.block_size,
            "num_iterations": self.num_iterations,
            "epsilon": self.epsilon,
            "momentum": self.momentum,
        }

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        raise self._unavailable("LoRA")

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        raise self._unavailable("Quantization")

    # Dense and Conv store kernel and bias only; all weights must be stored.
    def save_own_variables(self, store: dict[str, Any]) -> None:
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        keras.layers.Layer.load_own_variables(self, store)

    def _batch_statistics(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        inputs = ops.cast(inputs, self._statistics_dtype)
        columns = deconv_ops.split_columns(self._patches(inputs), self._blocks)
        if columns.shape[1] == 0:
            raise ValueError(
                f"Layer '{self.name}' needs at least one sample per batch in "
                f"training. Received: inputs of shape {tuple(inputs.shape)}"
            )
        mean = deconv_ops.mean(columns)
        covariance = deconv_ops.covariance(columns, mean, self.epsilon)
        return mean, deconv_ops.inverse_sqrt(covariance, self.num_iterations)

    def _moving_statistics(self) -> tuple[Tensor, Tensor]:
        return (
            ops.cast(self.moving_mean, self._statistics_dtype),
            ops.cast(self.moving_deconv, self._statistics_dtype),
        )

    def _update(self, average: keras.Variable, value: Tensor) -> None:
        value = ops.cast(ops.stop_gradient(value), average.dtype)
        average.assign(average * self.momentum + value * (1 - self.momentum))

    def _fold(self, mean: Tensor, deconv: Tensor) -> tuple[Tensor, Tensor]:
        kernel = ops.cast(self.kernel, self._statistics_dtype)
        bias = self.bias
        if bias is not None:
            bias = ops.cast(bias, self._statistics_dtype)
        return deconv_ops.fold(kernel, bias, mean, deconv, self._blocks)

    def _unavailable(self, feature: str) -> NotImplementedError:
        return NotImplementedError(
            f"{feature} is not available in a deconvolution layer, whose "
            "kernel changes with every batch: fold it first, and use the "
            f"plain layer. Received: layer '{self.name}'"
        )

    @property
    def _statistics_dtype(self) -> str:
        return "float64" if self.compute_dtype == "float64" else "float32"

    @property
    def _channel_axis(self) -> int:
        return 1 if self._channels_first else -1

    @property
    def _channels_first(self) -> bool:
        return getattr(self, "data_format", None) == "channels_first"

    def _whole_blocks(self, channels: int) -> int:
        """Returns the largest fitting block size that divides `channels`."""
        if channels <= self.block_size:
            return channels
        return math.gcd(channels, self.block_size)

    def _known_channels(self, input_shape: tuple[int | None, ...]) -> int:
        min_ndim = self.input_spec.min_ndim
        if len(input_shape) < min_ndim:
            raise ValueError(
                f"Layer '{self.name}' takes inputs of rank {min_ndim} or "
                f"more. Received: input_shape={tuple(input_shape)}"
            )
        channels = input_shape[self._channel_axis]
        if channels is None:
            raise ValueError(
                f"The channels of the inputs of layer '{self.name}' (axis "
                f"{self._channel_axis}) must be known. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        return channels

    def _make_blocks(self, channels: int) -> deconv_ops.Blocks:
        """Returns how the features of an input are dealt into blocks."""
        raise NotImplementedError

    def _patches(self, inputs: Tensor) -> Tensor:
        """Returns `(..., C, taps)`: what rows of the kernel multiply."""
        raise NotImplementedError

    def _linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Returns the layer's product of inputs and kernel, without bias."""
        raise NotImplementedError

    @property
    def _bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias that broadcasts against the outputs."""
        raise NotImplementedError


def _identity(shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    # Tiled, not broadcast: torch cannot assign to a broadcast tensor.
    return ops.tile(ops.eye(shape[-1], dtype=dtype), (shape[0], 1, 1))

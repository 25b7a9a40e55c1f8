"""What stands where batch normalization was."""

from typing import Any

import keras
from keras import ops

from keras_deconv._types import Tensor
from keras_deconv.layers._twin import check_built


class Placeholder(keras.layers.Layer):
    """Base: takes the place of a `BatchNormalization` and remembers it.

    Args:
        original: Configuration of the `BatchNormalization`, as
            `get_config` returns it.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(
        self, *, original: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.original = dict(original or {})
        self.axis = self.original.get("axis", -1)
        self.supports_masking = True

    def restore(self) -> Any:
        """Returns the `BatchNormalization` that was here, as the identity.

        It has the original settings, a moving mean of zero and a moving
        variance of one less its epsilon, so that it predicts what it is
        given.

        Raises:
            ValueError: If the layer is not built.
        """
        check_built(self)
        norm = keras.layers.BatchNormalization.from_config(
            {**self.original, "name": self.name}
        )
        norm.build(self.get_build_config()["input_shape"])
        # Initializers may say otherwise.
        for name, value in (
            ("gamma", 1),
            ("beta", 0),
            ("moving_mean", 0),
            ("moving_variance", 1 - norm.epsilon),
        ):
            weight = getattr(norm, name, None)
            if weight is not None:
                weight.assign(ops.full(weight.shape, value))
        norm.trainable = self.trainable
        return norm

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "original": dict(self.original)}

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return input_shape


@keras.saving.register_keras_serializable(package="keras_deconv")
class RemovedNormalization(Placeholder):
    """Returns its inputs: a `BatchNormalization` was here.

    Keeps its name and its settings, for `keras_deconv.restore`. `fold`
    leaves `keras.layers.Identity` in its place.

    Args:
        took_bias: Whether the layer before it got a bias when it went.
        **kwargs: Arguments of `keras.layers.Layer`, and `original`: what
            `BatchNormalization.get_config` returned.
    """

    def __init__(self, *, took_bias: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.took_bias = took_bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "took_bias": self.took_bias}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        del input_shape  # Kept by Keras, for `restore`.

    def call(
        self,
        inputs: Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        del training, mask
        return inputs

    def fold(self) -> Any:
        """Returns the layer of Keras that returns its inputs."""
        # Its configuration takes the policy by name only.
        return keras.layers.Identity(
            name=self.name, dtype=self.dtype_policy.name
        )


@keras.saving.register_keras_serializable(package="keras_deconv")
class ChannelAffine(Placeholder):
    """Scales and shifts channels by constants.

    What a `BatchNormalization` computes at inference, frozen: for places
    where no convolution can take it in.

    Weights, none trainable: `scale` and `offset`, both `(C,)`.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`, and `original`: what
            `BatchNormalization.get_config` returned.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[self.axis],)
        self.scale, self.offset = (
            self.add_weight(
                name=name,
                shape=shape,
                initializer=start,
                trainable=False,
                autocast=False,
            )
            for name, start in (("scale", "ones"), ("offset", "zeros"))
        )

    def call(
        self,
        inputs: Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        del training, mask
        shape = [1] * len(inputs.shape)
        shape[self.axis] = -1
        scale, offset = (
            ops.reshape(ops.convert_to_tensor(each), shape)
            for each in (self.scale, self.offset)
        )
        outputs = ops.cast(inputs, scale.dtype) * scale + offset
        return ops.cast(outputs, self.compute_dtype)

    def restore(self) -> Any:
        """Returns the `BatchNormalization` that predicts the same.

        Raises:
            ValueError: If the layer is not built, or the original one has
                neither scale nor centre to hold it.
        """
        norm = super().restore()
        scale = ops.convert_to_tensor(self.scale)
        offset = ops.convert_to_tensor(self.offset)
        if norm.scale:
            norm.gamma.assign(ops.copy(scale))
        else:
            # Without gamma the scale is 1 / sqrt(variance + epsilon).
            norm.moving_variance.assign(1 / ops.square(scale) - norm.epsilon)
        if norm.center:
            norm.beta.assign(ops.copy(offset))
        else:
            # A scale of zero leaves no offset either.
            divisor = ops.where(scale == 0, ops.ones_like(scale), scale)
            norm.moving_mean.assign(-offset / divisor)
        return norm

    def fold(self) -> Any:
        """Returns the layer of Keras that predicts the same."""
        return self.restore()

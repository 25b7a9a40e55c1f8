"""SGD as the paper uses it."""

import keras

MOMENTUM = 0.9


@keras.saving.register_keras_serializable(package="keras_deconv_examples")
class CoupledSGD(keras.optimizers.SGD):
    """SGD whose weight decay is a part of the gradient, as torch has it.

        g <- g + decay w,   v <- momentum v - rate g,   w <- w + v

    Keras' own `weight_decay` shrinks the weights beside the step and leaves
    the momentum out, so that the same number means ten times less decay at a
    momentum of 0.9. All trainable weights decay, biases and the scales of
    batch normalization too, as with torch's SGD.

    Args:
        learning_rate: A number or a schedule.
        momentum: Of the velocity v.
        l2: The weight decay.
        name: Of the optimizer.
        **kwargs: What `keras.optimizers.SGD` takes.
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum=MOMENTUM,
        l2=0.0,
        name="coupled_sgd",
        **kwargs,
    ):
        super().__init__(learning_rate, momentum=momentum, name=name, **kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        """Adds the decay to the gradient, and takes the step."""
        decay = keras.ops.cast(variable, gradient.dtype) * self.l2
        super().update_step(gradient + decay, variable, learning_rate)

    def get_config(self):
        """Returns the arguments."""
        return {**super().get_config(), "l2": self.l2}


def cosine_sgd(
    learning_rate: float, steps: int, weight_decay: float
) -> CoupledSGD:
    """Returns SGD with a cosine schedule from the rate to zero."""
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return CoupledSGD(schedule, l2=weight_decay)


def polynomial_sgd(
    learning_rate: float, steps: int, weight_decay: float
) -> CoupledSGD:
    """Returns SGD with the rate times (1 - step / steps) ** 0.9."""
    schedule = keras.optimizers.schedules.PolynomialDecay(
        learning_rate, steps, end_learning_rate=0.0, power=0.9
    )
    return CoupledSGD(schedule, l2=weight_decay)

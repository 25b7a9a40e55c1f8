"""Layers that several networks share. Images have their channels last."""

from typing import Any

import keras
from keras import layers


def image_input(input_shape: tuple[int | None, ...]) -> Any:
    """Returns the input of a network.

    Raises:
        ValueError: If Keras is set to have channels first.
    """
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "The networks have channels last. Received: "
            "keras.config.image_data_format()="
            f"{keras.config.image_data_format()!r}"
        )
    return keras.Input(input_shape)


def conv(
    x: Any,
    filters: int,
    kernel_size: int,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    use_bias: bool = False,
    name: str | None = None,
) -> Any:
    """Returns a convolution, padded on all sides as in torch."""
    x, padding = _pad(x, kernel_size, stride)
    return layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding,
        dilation_rate=dilation,
        groups=groups,
        use_bias=use_bias,
        name=name,
    )(x)


def depthwise_conv(
    x: Any, kernel_size: int, stride: int = 1, multiplier: int = 1
) -> Any:
    """Returns a depthwise convolution, padded on all sides as in torch."""
    x, padding = _pad(x, kernel_size, stride)
    return layers.DepthwiseConv2D(
        kernel_size, stride, padding, multiplier, use_bias=False
    )(x)


def batch_norm(x: Any) -> Any:
    """Returns a batch normalization with the settings of torch."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def conv_norm(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns a convolution and its normalization; arguments of `conv`."""
    return batch_norm(conv(x, *args, **kwargs))


def conv_norm_relu(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns a convolution, normalized and rectified; arguments of `conv`."""
    return layers.ReLU()(conv_norm(x, *args, **kwargs))


def bottleneck(
    x: Any,
    width: int,
    filters: int,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
) -> Any:
    """Returns the residual branch of 1x1, 3x3 and 1x1 convolutions."""
    x = conv_norm_relu(x, width, 1)
    x = conv_norm_relu(x, width, 3, stride, groups=groups, dilation=dilation)
    return conv_norm(x, filters, 1)


def shortcut(x: Any, filters: int, stride: int = 1) -> Any:
    """Returns `x`, or a projection of it to the shape of the branch."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    return conv_norm(x, filters, 1, stride)


def squeeze_excite(x: Any) -> Any:
    """Returns `x` with each channel scaled by what the image shows.

    "Squeeze-and-Excitation Networks" (Hu et al., CVPR 2018).
    """
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = conv(gate, channels // 16, 1, use_bias=True)
    gate = conv(layers.ReLU()(gate), channels, 1, use_bias=True)
    return layers.Multiply()([x, layers.Activation("sigmoid")(gate)])


def max_pool(x: Any) -> Any:
    """Returns the maximum of 3x3 at every second position, as in torch.

    `x` must not be negative: zeros at the border then never win.
    """
    return layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))


def classifier(inputs: Any, x: Any, num_classes: int, name: str) -> keras.Model:
    """Returns the network whose logits come from the mean of a map."""
    x = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(num_classes, name="head")(x)
    return keras.Model(inputs, logits, name=name)


def _pad(x: Any, kernel_size: int, stride: int) -> tuple[Any, str]:
    """Returns what a convolution takes, and its padding.

    With strides, "same" pads an even side more at its end than at its start.
    """
    if stride == 1:
        return x, "same"
    if kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
    return x, "valid"

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import against_oracle
import compare
import oracle
from authors import DeconvConv1DTranspose
from authors import DeconvConv2DTranspose
from authors import DeconvConv3DTranspose

# Arguments of the layer beyond 5 filters, and the shape of its inputs.
# PyTorch cuts off as much on either side, or warns: so do these.
CASES = {
    "valid": ({"kernel_size": 3}, (3, 5, 6, 4)),
    "strided": ({"kernel_size": 3, "strides": 2}, (4, 4, 5, 3)),
    "apart": ({"kernel_size": 2, "strides": 3}, (4, 4, 5, 3)),
    "same": ({"kernel_size": 3, "padding": "same"}, (4, 5, 4, 3)),
    "strided_same": (
        {"kernel_size": (4, 2), "strides": 2, "padding": "same"},
        (4, 4, 5, 3),
    ),
    "blocks": (
        {"kernel_size": 2, "block_size": 2, "use_bias": False},
        (3, 5, 4, 4),
    ),
    "own_blocks": (
        {
            "kernel_size": 2,
            "block_size": 2,
            "block_layout": "contiguous",
            "share_blocks": False,
            "sampling_stride": 1,
        },
        (3, 5, 4, 4),
    ),
    "one_axis": ({"kernel_size": 3, "strides": 2}, (4, 5, 4)),
    "one_axis_same": (
        {"kernel_size": 4, "strides": 2, "padding": "same"},
        (4, 5, 4),
    ),
    "three_axes": ({"kernel_size": 2, "strides": 1}, (3, 3, 4, 3, 4)),
    "three_axes_same": (
        {"kernel_size": (4, 2, 2), "strides": 2, "padding": "same"},
        (3, 3, 4, 3, 4),
    ),
}
CLASSES = {
    3: DeconvConv1DTranspose,
    4: DeconvConv2DTranspose,
    5: DeconvConv3DTranspose,
}


def build(shape, **arguments):
    layer = CLASSES[len(shape)](
        5,
        **arguments,
        bias_initializer="random_normal",
        momentum=against_oracle.MOMENTUM,
    )
    layer.build(shape)
    return layer


@pytest.mark.parametrize(
    ("arguments", "shape"), CASES.values(), ids=CASES.keys()
)
def test_training_inference_and_fold_equal_the_oracle(
    arguments, shape, correlated
):
    inputs, layer = correlated(*shape), build(shape, **arguments)

    def expected(given):
        return oracle.deconv_conv_transpose(
            inputs,
            *against_oracle.parameters_of(layer, "kernel", "bias"),
            block_size=layer.moving_mean.shape[-1],
            layout=layer.block_layout,
            given=given,
            **against_oracle.settings_of(
                layer,
                "strides",
                "padding",
                "sampling_stride",
                "num_iterations",
                "epsilon",
                "share_blocks",
            ),
        )

    against_oracle.check(layer, inputs, expected, keras.Sequential)


@pytest.mark.parametrize(
    ("shape", "centre_class", "plain_class"),
    [
        ((4, 4, 3), layers.DepthwiseConv1D, layers.Conv1DTranspose),
        ((4, 4, 5, 3), layers.DepthwiseConv2D, layers.Conv2DTranspose),
        ((4, 4, 5, 2, 3), layers.Conv3D, layers.Conv3DTranspose),
    ],
)
def test_folds_to_a_difference_and_a_convolution(
    shape, centre_class, plain_class, correlated
):
    inputs = correlated(*shape)
    layer = build(inputs.shape, kernel_size=3, name="up")
    layer(inputs, training=True)
    folded = layer.fold()
    centre, plain = folded.layers
    assert type(centre) is centre_class
    assert type(plain) is plain_class
    assert folded.trainable_weights == plain.trainable_weights
    assert plain.name == "up"
    compare.assert_close(
        centre(inputs),
        inputs - ops.convert_to_numpy(layer.moving_mean)[0],
    )


def test_fold_is_exact_at_the_border(correlated):
    """Outputs at the border see some of the taps only."""
    inputs = correlated(3, 4, 4, 3) + 5
    layer = build(inputs.shape, kernel_size=3, strides=2)
    layer(inputs, training=True)
    wanted = ops.convert_to_numpy(layer(inputs))
    actual = ops.convert_to_numpy(layer.fold()(inputs))
    for row in (0, -1):
        compare.assert_close(actual[:, row], wanted[:, row])


def test_output_padding_is_that_of_the_plain_layer(correlated):
    inputs = correlated(2, 4, 4, 3)
    arguments = {"kernel_size": 3, "strides": 2, "output_padding": 1}
    layer = build(inputs.shape, **arguments)
    plain = layers.Conv2DTranspose(5, **arguments)
    plain.build(inputs.shape)
    plain.kernel.assign(layer.kernel)
    plain.bias.assign(layer.bias)
    outputs = ops.convert_to_numpy(plain(inputs))
    # Untrained, the mean is zero and D the identity.
    compare.assert_close(layer(inputs), outputs)
    assert tuple(layer.compute_output_shape(inputs.shape)) == outputs.shape
    assert np.shape(layer.fold()(inputs)) == outputs.shape

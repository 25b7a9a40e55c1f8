import keras
import numpy as np
import pytest
from keras import ops

import against_oracle
import compare
import keras_deconv
import oracle
from authors import DeconvConv2D
from authors import DeconvDepthwiseConv1D
from authors import DeconvDepthwiseConv2D

# Arguments of the layer, and the shape of its inputs.
CASES = {
    "1d": ({"kernel_size": 3}, (4, 9, 3)),
    "1d_strided_same": (
        {"kernel_size": 4, "strides": 2, "padding": "same"},
        (5, 11, 2),
    ),
    "2d": (
        {"kernel_size": 3, "depth_multiplier": 2, "padding": "same"},
        (3, 7, 8, 3),
    ),
    "2d_strided": (
        {"kernel_size": (3, 2), "strides": 2, "sampling_stride": 1},
        (3, 9, 8, 2),
    ),
    "2d_no_bias": (
        {"kernel_size": 2, "dilation_rate": 2, "use_bias": False},
        (4, 8, 7, 2),
    ),
}
LAYERS = {3: DeconvDepthwiseConv1D, 4: DeconvDepthwiseConv2D}
PLAIN = {3: keras.layers.DepthwiseConv1D, 4: keras.layers.DepthwiseConv2D}


@pytest.mark.parametrize(
    ("arguments", "shape"), CASES.values(), ids=CASES.keys()
)
def test_training_inference_and_fold_equal_the_oracle(
    arguments, shape, correlated
):
    inputs = correlated(*shape)
    layer = LAYERS[len(shape)](
        **arguments,
        bias_initializer="random_normal",
        momentum=against_oracle.MOMENTUM,
    )
    layer.build(shape)

    def expected(given):
        return oracle.deconv_depthwise(
            inputs,
            *against_oracle.parameters_of(layer, "kernel", "bias"),
            given=given,
            **against_oracle.settings_of(
                layer,
                "strides",
                "dilation_rate",
                "padding",
                "sampling_stride",
                "num_iterations",
                "epsilon",
            ),
        )

    against_oracle.check(layer, inputs, expected, PLAIN[len(shape)])


def test_equals_a_convolution_with_a_group_for_each_channel(correlated):
    inputs = correlated(3, 8, 7, 3)
    depthwise = DeconvDepthwiseConv2D(3, depth_multiplier=2)
    grouped = DeconvConv2D(6, 3, groups=3)
    depthwise.build(inputs.shape)
    grouped.build(inputs.shape)
    grouped.kernel.assign(ops.reshape(depthwise.kernel, grouped.kernel.shape))
    outputs = ops.convert_to_numpy(depthwise(inputs, training=True))
    compare.assert_close(grouped(inputs, training=True), outputs)
    for name in ("moving_mean", "moving_deconv"):
        compare.assert_close(
            getattr(grouped, name),
            ops.convert_to_numpy(getattr(depthwise, name)),
        )


def test_a_channel_does_not_see_the_others(correlated):
    inputs = correlated(3, 9, 3)
    layer = DeconvDepthwiseConv1D(3)
    outputs = ops.convert_to_numpy(layer(inputs, training=True))
    other = inputs.copy()
    other[..., 1] = np.square(other[..., 1]) - 3
    changed = ops.convert_to_numpy(layer(other, training=True)) - outputs
    assert np.abs(changed[..., 1]).max() > 0.1
    np.testing.assert_allclose(changed[..., [0, 2]], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "side", "expected"),
    [
        ({"kernel_size": 3}, 30, 3),
        ({"kernel_size": 7, "padding": "same"}, 30, 7),
        ({"kernel_size": 7, "padding": "same"}, 19, 4),
        ({"kernel_size": 7, "padding": "same"}, 9, 3),
        ({"kernel_size": 7, "strides": 2}, 39, 4),
        ({"kernel_size": 3, "dilation_rate": 4, "padding": "same"}, 30, 3),
        ({"kernel_size": 7, "padding": "same", "sampling_stride": 2}, 30, 2),
    ],
    ids=str,
)
def test_patches_of_wide_kernels_are_sampled_farther_apart(
    arguments, side, expected, correlated
):
    inputs = correlated(2, side, 11, 2)
    arguments["kernel_size"] = (arguments["kernel_size"], 3)
    layer, same = (
        keras_deconv.DeconvDepthwiseConv2D(**{**arguments, **sampling})
        for sampling in ({}, {"sampling_stride": expected})
    )
    # The other axis, of three taps, has a distance of three in any case.
    layer.build(inputs.shape)
    same.build(inputs.shape)
    patches = layer._patches(ops.convert_to_tensor(inputs))
    assert patches.shape[1] == len(
        range(0, layer.compute_output_shape(inputs.shape)[1], expected)
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(patches)[:, :, 0],
        ops.convert_to_numpy(same._patches(ops.convert_to_tensor(inputs)))[
            :, :, 0
        ],
    )

import keras
import numpy as np
import pytest
from keras import ops

import against_oracle
import compare
import oracle
from authors import DeconvConv1D
from authors import DeconvConv2D
from authors import DeconvConv3D

LAYERS = {3: DeconvConv1D, 4: DeconvConv2D, 5: DeconvConv3D}
PLAIN = {
    3: keras.layers.Conv1D,
    4: keras.layers.Conv2D,
    5: keras.layers.Conv3D,
}
# Arguments of the layer beyond 6 filters, and the shape of its inputs.
CASES = {
    "one_block": ({"kernel_size": 3}, (2, 9, 8, 4)),
    "interleaved": ({"kernel_size": 3, "block_size": 2}, (3, 9, 8, 4)),
    "contiguous": (
        {"kernel_size": 3, "block_size": 2, "block_layout": "contiguous"},
        (3, 9, 8, 4),
    ),
    "every_position": ({"kernel_size": 3, "sampling_stride": 1}, (2, 7, 6, 3)),
    "same": ({"kernel_size": 3, "padding": "same"}, (3, 8, 7, 3)),
    "strided_same": (
        {"kernel_size": 3, "padding": "same", "strides": 2},
        (4, 8, 7, 3),
    ),
    "rectangular": ({"kernel_size": (1, 3)}, (4, 5, 9, 3)),
    "even": (
        {"kernel_size": (2, 4), "padding": "same", "strides": (1, 2)},
        (4, 6, 9, 2),
    ),
    "dilated": ({"kernel_size": 3, "dilation_rate": 2}, (3, 10, 9, 3)),
    "groups": ({"kernel_size": 3, "groups": 2}, (4, 9, 8, 4)),
    "pointwise": ({"kernel_size": 1, "sampling_stride": 2}, (4, 5, 6, 5)),
    "no_bias": ({"kernel_size": 3, "use_bias": False}, (3, 7, 6, 3)),
    "regularised": (
        {"kernel_size": 3, "num_iterations": 2, "epsilon": 1e-2},
        (2, 7, 6, 3),
    ),
    "own_blocks": (
        {
            "kernel_size": (1, 3),
            "block_size": 2,
            "block_layout": "contiguous",
            "share_blocks": False,
        },
        (4, 5, 9, 6),
    ),
    "1d": ({"kernel_size": 3, "block_size": 2}, (6, 12, 4)),
    "1d_strided_same": (
        {"kernel_size": 4, "strides": 3, "padding": "same"},
        (9, 13, 2),
    ),
    "1d_causal": ({"kernel_size": 3, "padding": "causal"}, (6, 11, 3)),
    "1d_strided_causal": (
        {"kernel_size": 3, "padding": "causal", "strides": 2},
        (9, 11, 3),
    ),
    "1d_dilated_causal": (
        {
            "kernel_size": 3,
            "padding": "causal",
            "dilation_rate": 2,
            "sampling_stride": 1,
        },
        (4, 9, 2),
    ),
    "1d_own_blocks": (
        {
            "kernel_size": 2,
            "block_size": 2,
            "block_layout": "contiguous",
            "share_blocks": False,
            "use_bias": False,
        },
        (6, 9, 4),
    ),
    "3d": ({"kernel_size": 2, "block_size": 1}, (4, 4, 6, 5, 2)),
    "3d_rectangular": (
        {
            "kernel_size": (1, 2, 3),
            "padding": "same",
            "strides": (1, 2, 1),
            "sampling_stride": 2,
        },
        (4, 3, 5, 4, 2),
    ),
}


def build(shape, **arguments):
    layer = LAYERS[len(shape)](
        6,
        **arguments,
        bias_initializer="random_normal",
        momentum=against_oracle.MOMENTUM,
    )
    layer.build(shape)
    return layer


def expected(layer, inputs, given=None):
    taps = np.prod(layer.kernel_size)
    return oracle.deconv_conv(
        inputs,
        *against_oracle.parameters_of(layer, "kernel", "bias"),
        block_size=layer.moving_mean.shape[-1] // taps,
        layout=layer.block_layout,
        given=given,
        **against_oracle.settings_of(
            layer,
            "strides",
            "dilation_rate",
            "padding",
            "groups",
            "sampling_stride",
            "num_iterations",
            "epsilon",
            "share_blocks",
        ),
    )


def state(layer):
    return against_oracle.parameters_of(layer, "moving_mean", "moving_deconv")


@pytest.mark.parametrize(
    ("arguments", "shape"), CASES.values(), ids=CASES.keys()
)
def test_training_inference_and_fold_equal_the_oracle(
    arguments, shape, correlated
):
    layer, inputs = build(shape, **arguments), correlated(*shape)
    against_oracle.check(
        layer,
        inputs,
        lambda given: expected(layer, inputs, given),
        PLAIN[len(shape)],
    )


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow"
    and not keras.distribution.list_devices("gpu"),
    reason="TensorFlow has no channels-first convolution on the CPU",
)
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_channels_first_computes_the_same(padding, correlated):
    inputs = correlated(2, 8, 7, 4)
    last = build(inputs.shape, kernel_size=3, padding=padding, strides=2)
    first = build(
        (2, 4, 8, 7),
        kernel_size=3,
        padding=padding,
        strides=2,
        data_format="channels_first",
    )
    first.set_weights(last.get_weights())
    outputs = ops.convert_to_numpy(last(inputs, training=True))
    compare.assert_close(
        first(np.moveaxis(inputs, -1, 1), training=True),
        np.moveaxis(outputs, -1, 1),
    )
    compare.assert_close(first.moving_deconv, state(last)[1])
    compare.assert_close(
        first.fold()(np.moveaxis(inputs, -1, 1)),
        np.moveaxis(ops.convert_to_numpy(last(inputs)), -1, 1),
    )


@pytest.mark.parametrize(
    ("channels", "groups", "block_size", "fitting"),
    [(4, 1, 64, 4), (64, 1, 64, 64), (96, 1, 64, 32), (65, 1, 64, 1),
     (8, 2, 64, 4), (8, 2, 2, 4)],
)  # fmt: skip
def test_block_size_falls_back(channels, groups, block_size, fitting):
    layer = DeconvConv2D(2, 1, groups=groups, block_size=block_size)
    layer.build((None, 4, 4, channels))
    assert layer.moving_mean.shape == (groups, fitting)
    assert layer.moving_deconv.shape == (groups, fitting, fitting)
    assert layer.block_size == block_size


def test_blocks_that_are_not_shared_have_statistics_each():
    layer = DeconvConv2D(
        2, 3, block_size=2, block_layout="contiguous", share_blocks=False
    )
    layer.build((None, 4, 4, 6))
    assert layer.moving_mean.shape == (3, 18)
    assert layer.moving_deconv.shape == (3, 18, 18)


def test_takes_conv2d_arguments_by_position():
    layer = DeconvConv2D(4, 3, 2, "same", activation="relu")
    assert layer.strides == (2, 2)
    assert layer.padding == "same"
    outputs = layer(np.ones((2, 8, 8, 3), "float32"))
    assert outputs.shape == (2, 4, 4, 4)
    assert layer.compute_output_shape((None, None, 8, 3)) == (None, None, 4, 4)
    assert ops.min(outputs) >= 0


def test_regularizer_and_constraint_act_on_the_raw_kernel(correlated):
    layer = DeconvConv2D(
        4, 3, kernel_regularizer="l2", kernel_constraint="non_neg"
    )
    layer(correlated(2, 6, 6, 2), training=True)
    kernel = ops.convert_to_numpy(layer.kernel)
    loss = ops.convert_to_numpy(layer.losses[0])
    assert loss == pytest.approx(0.01 * (kernel**2).sum(), rel=1e-5)
    assert layer.kernel.constraint is not None


def test_fold_is_exact_at_the_border(correlated):
    """Zero padding belongs to the patches: the mean is not zero there."""
    layer = build((2, 6, 6, 3), kernel_size=3, padding="same")
    inputs = correlated(2, 6, 6, 3) + 5
    layer(inputs, training=True)
    actual = ops.convert_to_numpy(layer.fold()(inputs))
    wanted = ops.convert_to_numpy(layer(inputs))
    compare.assert_close(actual[:, 0], wanted[:, 0])


def test_unknown_spatial_sizes(correlated):
    inputs = keras.Input((None, None, 3))
    layer = DeconvConv2D(4, 3, strides=2, padding="same")
    outputs = layer(inputs)
    assert outputs.shape == (None, None, None, 4)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    for size in (8, 11):
        images = correlated(2, size, size, 3)
        before = state(layer)
        target = np.zeros((2, -(-size // 2), -(-size // 2), 4))
        model.fit(images, target, verbose=0)
        _, mean, _ = expected(layer, images)
        compare.assert_close(layer.moving_mean, 0.9 * before[0] + 0.1 * mean)
        compare.assert_close(
            model.predict(images, verbose=0),
            expected(layer, images, given=state(layer))[0],
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 3}, "divisible by `groups`.*groups=3, channels=4"),
        ({"block_layout": "random"}, "`block_layout` must be.*'random'"),
        ({"sampling_stride": 0}, "`sampling_stride` must be.*=0"),
        (
            {"share_blocks": False},
            "`share_blocks` must be True, unless `block_layout`",
        ),
        (
            {"method": "minimax", "num_iterations": 4},
            "`num_iterations` must be 5 .*'minimax'.*num_iterations=4",
        ),
    ],
)
def test_errors_of_the_convolution(arguments, message):
    with pytest.raises(ValueError, match=message):
        DeconvConv2D(6, 3, **arguments).build((None, 8, 8, 4))

import keras
import numpy as np
import pytest
from keras import ops

import against_oracle
import compare
import oracle
from authors import ChannelDeconv

# Settings of the layer, and the shape of its inputs.
CASES = {
    "one_block": ({}, (4, 6, 5, 4)),
    "interleaved": ({"block_size": 2, "sampling_stride": 1}, (3, 4, 5, 6)),
    "remaining": ({"block_size": 2}, (4, 6, 7, 5)),
    "own_blocks_and_remaining": (
        {
            "block_size": 3,
            "block_layout": "contiguous",
            "share_blocks": False,
            "sampling_stride": 2,
        },
        (4, 6, 5, 8),
    ),
    "features": ({"block_size": 4, "num_iterations": 3}, (20, 6)),
    "1d": ({"block_size": 3, "epsilon": 1e-3}, (6, 9, 4)),
    "3d": ({}, (3, 4, 5, 4, 3)),
}
PLAIN = {
    2: keras.layers.Dense,
    3: keras.layers.Conv1D,
    4: keras.layers.Conv2D,
    5: keras.layers.Conv3D,
}


@pytest.mark.parametrize(
    ("settings", "shape"), CASES.values(), ids=CASES.keys()
)
def test_training_inference_and_fold_equal_the_oracle(
    settings, shape, correlated
):
    inputs = correlated(*shape)
    layer = ChannelDeconv(**settings, momentum=against_oracle.MOMENTUM)
    layer.build(shape)

    def expected(given):
        return oracle.deconv_channel(
            inputs,
            layout=layer.block_layout,
            given=given,
            **against_oracle.settings_of(
                layer,
                "block_size",
                "sampling_stride",
                "num_iterations",
                "epsilon",
                "share_blocks",
            ),
        )

    against_oracle.check(layer, inputs, expected, PLAIN[len(shape)])


def test_channels_first_computes_the_same(correlated):
    inputs = correlated(3, 6, 5, 5)
    last = ChannelDeconv(block_size=2)
    first = ChannelDeconv(block_size=2, data_format="channels_first")
    outputs = ops.convert_to_numpy(last(inputs, training=True))
    compare.assert_close(
        first(np.moveaxis(inputs, -1, 1), training=True),
        np.moveaxis(outputs, -1, 1),
    )
    for mine, other in zip(first.weights, last.weights, strict=True):
        compare.assert_close(mine, ops.convert_to_numpy(other))


def test_folds_to_a_channels_first_convolution(correlated):
    inputs = np.moveaxis(correlated(3, 6, 5, 5), -1, 1)
    layer = ChannelDeconv(block_size=2, data_format="channels_first")
    layer(inputs, training=True)
    plain = layer.fold()
    assert plain.data_format == "channels_first"
    # TensorFlow has no channels-first convolution on the CPU.
    kernel = ops.convert_to_numpy(plain.kernel)[0, 0]
    bias = ops.convert_to_numpy(plain.bias)
    expected = np.einsum("nchw,co->nohw", inputs, kernel)
    compare.assert_close(layer(inputs), expected + bias[:, None, None])


def test_mask_passes_through():
    assert ChannelDeconv().supports_masking


@pytest.mark.parametrize(
    ("shape", "found"), [((4,), r"\(4,\)"), ((2, 2, 2, 2, 2, 3), "6")]
)
def test_rank_out_of_range_is_refused(shape, found):
    with pytest.raises(ValueError, match=f"(rank|ndim).*{found}"):
        ChannelDeconv()(np.ones(shape, "float32"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"data_format": "channels_middle"},
            "`data_format` must be one of.*'channels_middle'",
        ),
        (
            {"share_blocks": False},
            "`share_blocks` must be True, unless `block_layout`",
        ),
        ({"sampling_stride": 0}, "`sampling_stride` must be.*=0"),
    ],
)
def test_errors_name_the_rule_and_the_value(settings, message):
    with pytest.raises(ValueError, match=message):
        ChannelDeconv(**settings)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("channels", [4, 6])
def test_old_d_of_rows_without_positions(channels, is_masked, correlated):
    """Channels that are whitened, and a rest, between two D."""
    settings = {"update_every": 3, "warmup_steps": 1, "sampling_stride": 1}
    # The same samples, with the second as positions of an axis.
    layer, twin = (ChannelDeconv(block_size=4, **settings) for _ in range(2))
    mask = np.ones((4, 5), "bool") if is_masked else None
    for _ in range(5):
        rows = correlated(20, channels)
        inputs = rows.reshape(4, 5, channels) if is_masked else rows
        found = layer(inputs, training=True, mask=mask)
        expected = twin(rows.reshape(4, 5, channels), training=True)
        compare.assert_close(ops.reshape(found, (4, 5, channels)), expected)
    for weight, other in zip(layer.weights, twin.weights, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(weight), ops.convert_to_numpy(other), atol=1e-5
        )


def test_whole_numbers():
    inputs = np.arange(24, dtype="uint8").reshape(2, 2, 2, 3)
    layer = ChannelDeconv()
    compare.assert_close(layer(inputs), inputs)
    found = layer(inputs, training=True)
    twin = ChannelDeconv()
    compare.assert_close(found, twin(inputs.astype("float32"), training=True))


def test_outputs_have_the_compute_dtype_without_autocast(correlated):
    layer = ChannelDeconv(dtype="mixed_bfloat16", autocast=False)
    outputs = layer(correlated(6, 4), training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_scale_is_of_four_positions_along_an_axis(data_format, rng):
    inputs = rng.normal(size=(8, 2, 2, 128)).astype("float32")
    layer = ChannelDeconv(
        block_size=128, update_every=2, data_format=data_format
    )
    axes = (0, 3, 1, 2) if data_format == "channels_first" else (0, 1, 2, 3)
    layer(inputs.transpose(axes), training=True)
    expected = inputs.var(axis=(0, 1, 2)).mean() + 1e-2
    compare.assert_close(layer.batch_variance, [expected])

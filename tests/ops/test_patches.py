import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

import compare
import oracle
from keras_deconv.ops import default_stride
from keras_deconv.ops import mean_patch
from keras_deconv.ops import sampled_patches


@st.composite
def geometries(draw):
    """A convolution that Keras accepts: it refuses stride with dilation."""
    rank = draw(st.integers(1, 3))

    def sizes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel_size = sizes(1, 3 if rank == 3 else 4)
    strides, dilation_rate = (1,) * rank, (1,) * rank
    if draw(st.booleans()):
        strides = sizes(1, 3)
    else:
        dilation_rate = sizes(1, 2)
    reach = [
        (k - 1) * d + 1 for k, d in zip(kernel_size, dilation_rate, strict=True)
    ]
    return {
        "spatial": tuple(r + draw(st.integers(0, 4)) for r in reach),
        "kernel_size": kernel_size,
        "strides": strides,
        "dilation_rate": dilation_rate,
        "padding": draw(
            st.sampled_from(["valid", "same", *["causal"] * (rank == 1)])
        ),
        "channels": draw(st.integers(1, 3)),
    }


@given(
    geometries(), st.sampled_from([1, 2, 5, None]), st.integers(0, 2**32 - 1)
)
def test_mean_patch_is_the_mean_of_the_patches(geometry, sampling, seed):
    rng = np.random.default_rng(seed)
    shape = 3, *geometry.pop("spatial"), geometry.pop("channels")
    inputs = rng.normal(size=shape).astype("float32")
    geometry["sampling_stride"] = sampling
    patches = ops.convert_to_numpy(sampled_patches(inputs, **geometry))
    expected = patches.reshape(-1, *patches.shape[-2:]).mean(axis=0)
    compare.assert_close(mean_patch(inputs, **geometry), expected)
    first = mean_patch(
        np.moveaxis(inputs, -1, 1), data_format="channels_first", **geometry
    )
    compare.assert_close(first, expected)


@pytest.mark.parametrize(
    ("positions", "kernel_size", "stride", "expected"),
    [
        (32, 3, 1, 3),
        (32, 7, 1, 7),
        (32, 7, 2, 4),
        (32, 15, 1, 8),
        (4, 7, 1, 3),
        (None, 7, 1, 3),
    ],
)
def test_default_stride(positions, kernel_size, stride, expected):
    assert default_stride(positions, kernel_size, stride) == expected


@given(geometries(), st.integers(0, 2**32 - 1))
def test_patches_times_kernel_is_the_convolution(geometry, seed):
    rng = np.random.default_rng(seed)
    channels = geometry.pop("channels")
    inputs = rng.normal(size=(2, *geometry.pop("spatial"), channels))
    inputs = inputs.astype("float32")
    kernel_size = geometry["kernel_size"]
    kernel = rng.normal(size=(*kernel_size, channels, 2)).astype("float32")
    patches = sampled_patches(inputs, **geometry)
    columns = ops.reshape(patches, (*patches.shape[:-2], -1))
    weights = np.moveaxis(kernel, -2, 0).reshape(-1, 2)
    del geometry["kernel_size"]
    if geometry["padding"] == "causal":
        reach = (kernel_size[0] - 1) * geometry["dilation_rate"][0]
        inputs = np.pad(inputs, [(0, 0), (reach, 0), (0, 0)])
        geometry["padding"] = "valid"
    expected = ops.conv(inputs, kernel, **geometry)
    compare.assert_close(
        ops.matmul(columns, weights), ops.convert_to_numpy(expected)
    )


@given(geometries(), st.integers(1, 4))
def test_sampling_takes_every_position_that_stride_allows(geometry, sampling):
    spatial, channels = geometry.pop("spatial"), geometry.pop("channels")
    inputs = np.arange(np.prod(spatial) * channels, dtype="float32")
    inputs = inputs.reshape(1, *spatial, channels) + 1
    every = sampled_patches(inputs, **geometry)
    sampled = sampled_patches(inputs, sampling_stride=sampling, **geometry)
    positions = (slice(None, None, sampling),) * len(spatial)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(sampled),
        ops.convert_to_numpy(every)[(slice(None), *positions)],
    )


def test_features_are_ordered_channels_first(correlated):
    inputs = correlated(2, 7, 6, 3)
    patches = sampled_patches(inputs, (3, 2), strides=(2, 1))
    assert patches.shape == (2, 3, 5, 3, 6)
    columns = ops.convert_to_numpy(patches).reshape(2, 3, 5, 18)
    np.testing.assert_array_equal(
        columns, oracle.patches(inputs, (3, 2), (2, 1), (1, 1))
    )


@pytest.mark.parametrize("sampling", [1, 2, 4])
def test_causal_patches_see_nothing_that_comes_later(correlated, sampling):
    inputs = correlated(2, 9, 3)
    patches = sampled_patches(
        inputs,
        (3,),
        dilation_rate=2,
        padding="causal",
        sampling_stride=sampling,
    )
    padded = np.pad(inputs, [(0, 0), (4, 0), (0, 0)])
    for index, position in enumerate(range(0, 9, sampling)):
        # Tap 2 is the position itself, taps 0 and 1 come before it.
        expected = padded[:, [position, position + 2, position + 4]]
        np.testing.assert_array_equal(
            ops.convert_to_numpy(patches)[:, index],
            np.swapaxes(expected, 1, 2),
        )
    assert patches.shape == (2, len(range(0, 9, sampling)), 3, 3)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_channels_first_gives_the_same_patches(correlated, padding):
    inputs = correlated(2, 7, 6, 3)
    first = sampled_patches(
        np.moveaxis(inputs, -1, 1),
        (3, 3),
        padding=padding,
        sampling_stride=2,
        data_format="channels_first",
    )
    last = sampled_patches(inputs, (3, 3), padding=padding, sampling_stride=2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(first), ops.convert_to_numpy(last)
    )


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="only TensorFlow traces with unknown sizes",
)
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_unknown_sizes_give_the_same_patches(correlated, padding, strides):
    import tensorflow as tf

    options = {"strides": strides, "padding": padding, "sampling_stride": 2}

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def traced(inputs):
        return sampled_patches(inputs, (3, 2), **options)

    for shape in [(2, 7, 6, 3), (1, 8, 9, 3)]:
        inputs = correlated(*shape)
        np.testing.assert_array_equal(
            traced(inputs), sampled_patches(inputs, (3, 2), **options)
        )


@pytest.mark.parametrize(
    ("settings", "kernel"),
    [({}, 3), ({"sampling_stride": 3}, 3), ({"dilation_rate": 2}, 5)],
)
def test_inputs_smaller_than_the_kernel_are_refused(settings, kernel):
    message = rf"smaller than the kernel.*size of 2, a kernel of {kernel}"
    with pytest.raises(ValueError, match=message):
        sampled_patches(np.zeros((3, 9, 2, 4)), (3, 3), **settings)


@pytest.mark.parametrize("function", [sampled_patches, mean_patch])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("padding", "full"),
        ("padding", "SAME"),
        ("data_format", "NCHW"),
        ("strides", 0),
        ("sampling_stride", 0),
        ("dilation_rate", -1),
        ("kernel_size", (0, 3)),
        ("kernel_size", (3,)),
        ("strides", (1, 2, 3)),
        ("sampling_stride", ()),
    ],
)
def test_argument_out_of_range(function, argument, value):
    arguments = {"kernel_size": (3, 3)} | {argument: value}
    inputs = np.ones((1, 6, 6, 2), "float32")
    with pytest.raises(ValueError, match=f"`{argument}`.*Received"):
        function(inputs, **arguments)


@pytest.mark.parametrize("function", [sampled_patches, mean_patch])
def test_inputs_without_spatial_axes(function):
    message = r"spatial axes, and channels.*shape \(6, 2\)"
    with pytest.raises(ValueError, match=message):
        function(np.ones((6, 2), "float32"), 3)


@pytest.mark.parametrize("function", [sampled_patches, mean_patch])
def test_one_number_stands_for_all_axes(function, correlated):
    inputs = correlated(2, 7, 6, 3)
    found = function(inputs, np.int64(3), strides=np.int64(2))
    expected = function(inputs, (3, 3), strides=(2, 2))
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, (found, expected)))


def test_numbers_of_numpy_sample_as_plain_ones_do(rng):
    # The first to come decides for all: sizes that no other test has.
    inputs = rng.normal(size=(1, 43, 43, 1)).astype("float32")
    found = [
        sampled_patches(
            inputs, (size, size), padding="same", sampling_stride=None
        ).shape
        for size in (np.int64(7), 7)
    ]
    assert found[0] == found[1]
    assert found[0][1:3] == (7, 7)

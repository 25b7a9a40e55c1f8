"""What all deconvolution layers have in common."""

import keras
import numpy as np
import pytest
from keras import ops

import compare
import family
import keras_deconv
from empty import can_convolve

WITHOUT_CONVOLUTION = (keras_deconv.DeconvDense, keras_deconv.ChannelDeconv)
each_layer = pytest.mark.parametrize(
    "make", family.MEMBERS.values(), ids=family.MEMBERS.keys()
)
each_drop_in = pytest.mark.parametrize(
    "make",
    [make for make in family.MEMBERS.values() if make.more],
    ids=[name for name, make in family.MEMBERS.items() if make.more],
)


def state(layer):
    return family.values(layer.non_trainable_weights)


@each_layer
def test_state_starts_at_zero_and_identity(make):
    layer = make()
    layer.build(make.shape)
    assert [w.name for w in layer.trainable_weights] == [*make.trainable]
    assert [w.name for w in layer.non_trainable_weights] == [*make.statistics]
    for mean, deconv in zip(state(layer)[::2], state(layer)[1::2], strict=True):
        assert not mean.any()
        assert deconv.shape == (*mean.shape, mean.shape[-1])
        for matrix in deconv:
            np.testing.assert_array_equal(matrix, np.eye(len(matrix)))


@each_layer
@pytest.mark.parametrize("training", [False, None, "frozen"])
def test_inference_leaves_the_state_alone(make, training, correlated):
    layer, inputs = make(), correlated(*make.shape)
    layer(inputs, training=True)
    before = state(layer)
    if training == "frozen":
        layer.trainable = False
        frozen = layer(inputs, training=True)
        compare.assert_close(
            frozen, ops.convert_to_numpy(layer(inputs, training=False))
        )
    else:
        layer(inputs, training=training)
    for value, kept in zip(
        family.values(
            weight for weight in layer.weights if weight.name in make.statistics
        ),
        before,
        strict=True,
    ):
        np.testing.assert_array_equal(value, kept)


@each_layer
def test_training_uses_the_batch_not_the_average(make, correlated):
    layer, inputs = make(), correlated(*make.shape)
    outputs = ops.convert_to_numpy(layer(inputs, training=True))
    again = layer(inputs, training=True)
    compare.assert_close(again, outputs, 1e-6)
    difference = outputs - ops.convert_to_numpy(layer(inputs, training=False))
    assert np.abs(difference).max() > 0.1 * np.abs(outputs).max()


@each_layer
def test_average_converges_to_the_statistics(make, correlated):
    layer, inputs = make(momentum=0.25), correlated(*make.shape)
    for _ in range(12):
        outputs = layer(inputs, training=True)
    compare.assert_close(
        layer(inputs, training=False), ops.convert_to_numpy(outputs)
    )


@each_layer
def test_configuration_round_trip(make, correlated):
    settings = {name: family.SETTINGS[name] for name in make.settings}
    settings |= {"name": "some_name", "trainable": False}
    if make.more:
        settings |= {"activation": "tanh", "use_bias": False}
    settings |= dict.fromkeys(make.kernels, "ones")
    layer = make(**settings)
    config = keras.saving.serialize_keras_object(layer)
    registered = f"keras_deconv>{make.cls.__name__}"
    assert config["registered_name"] == registered
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    for name in set(settings) - {"activation", *make.kernels}:
        assert getattr(copy, name) == settings[name]
    inputs = correlated(*make.shape)
    compare.assert_close(copy(inputs), ops.convert_to_numpy(layer(inputs)))


@each_layer
def test_settings_are_those_of_the_table(make):
    """So that every setting has a value there, other than the default."""
    assert make.cls.setting_names() == make.settings
    layer = make.cls(*make.arguments)
    for name in make.settings:
        assert getattr(layer, name) != family.SETTINGS[name]


@each_layer
@pytest.mark.parametrize(
    "policy",
    ["float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16"],
)
def test_statistics_stay_float32(make, policy, correlated):
    layer, inputs = make(dtype=policy), correlated(*make.shape)
    exact = make()
    exact.build(make.shape)
    layer.build(make.shape)
    for mine, other in zip(layer.weights, exact.weights, strict=True):
        mine.assign(other)
        other.assign(ops.cast(mine, "float32"))
    outputs = layer(inputs, training=True)
    wanted = ops.convert_to_numpy(exact(inputs, training=True))
    for weight in layer.non_trainable_weights:
        assert weight.dtype == "float32"
    compute_dtype = layer.compute_dtype
    assert keras.backend.standardize_dtype(outputs.dtype) == compute_dtype
    # Only the inputs and the product are rounded to the compute dtype; the
    # root amplifies the rounding of the inputs.
    rounding = {"float32": 1e-6, "float16": 1e-2, "bfloat16": 1e-1}
    compare.assert_close(
        ops.cast(outputs, "float32"), wanted, rounding[compute_dtype]
    )
    compare.assert_close(
        layer.moving_deconv,
        ops.convert_to_numpy(exact.moving_deconv),
        rounding[compute_dtype],
    )


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d", "dense"])
def test_kernel_is_not_rounded_before_it_is_folded(name, correlated):
    """1 + 2^-12 is 1 in half precision: a D that compares would see zeros."""
    make = family.MEMBERS[name]
    layer = make(dtype="mixed_float16", use_bias=False)
    layer.build(make.shape)
    rng = np.random.default_rng(0)
    steps = rng.integers(2, size=layer.kernel.shape)
    layer.kernel.assign(1 + steps * 2.0**-12)
    count, features, _ = layer.moving_deconv.shape
    compares = np.eye(features) - 1 / features
    layer.moving_deconv.assign(np.repeat(compares[None], count, axis=0))
    layer.moving_mean.assign(ops.ones(layer.moving_mean.shape))
    plain = layer.fold()
    folded = ops.convert_to_numpy(plain.kernel)
    assert 2.0**-14 < np.abs(folded).max() <= 2.0**-12
    outputs = layer(family.make_inputs(make.shape))
    wanted = plain(family.make_inputs(make.shape))
    compare.assert_close(outputs, ops.convert_to_numpy(wanted), 1e-2)


@each_layer
@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("block_size", [0, -1, 1.5, True, None, "4"]),
        ("share_blocks", [None, 1, "yes"]),
        ("block_layout", [None, "random"]),
        ("sampling_stride", [0, 1.5, (2, 2)]),
        ("num_iterations", [0, -1, 2.5, None]),
        ("epsilon", [0, -1e-5, float("nan"), float("inf"), None, "small"]),
        ("momentum", [-0.1, 1, 1.5, float("nan"), None]),
    ],
)
def test_errors_name_the_rule_and_the_value(make, setting, values):
    for value in values:
        if setting in make.settings:
            match = rf"`{setting}` must be"
            received = f"Received: {setting}={value!r}"
        else:
            match, received = "[Uu]nrecognized keyword arguments", setting
        with pytest.raises(ValueError, match=match) as error:
            make.cls(*make.arguments, **{setting: value})
        assert received in str(error.value)


@each_layer
def test_unknown_argument_is_refused(make):
    with pytest.raises(ValueError, match="blocksize"):
        make(blocksize=3)


@each_layer
def test_unknown_channels_are_refused(make):
    with pytest.raises(ValueError, match=r"channels.*must be known.*None"):
        make().build((*make.shape[:-1], None))


@each_layer
def test_low_rank_is_refused(make):
    if make.plain is keras.layers.Dense:
        pytest.skip("can be built from the features alone")
    with pytest.raises(ValueError, match=r"rank \d (or more|to \d).*\(4,\)"):
        make().build((4,))


@each_layer
def test_empty_batch_is_for_inference_alone(make):
    layer = make()
    layer.build(make.shape)
    empty = np.zeros((0, *make.shape[1:]), "float32")
    with pytest.raises(ValueError, match=r"at least one sample.*\(0,"):
        layer(empty, training=True)
    if not can_convolve() and not isinstance(layer, WITHOUT_CONVOLUTION):
        pytest.skip("TensorFlow loses the shape of an empty batch here")
    expected = layer.compute_output_shape(make.shape)
    assert tuple(layer(empty).shape) == (0, *expected[1:])


@each_layer
def test_lora_and_quantization_ask_to_fold_first(make):
    layer = make(name="mine")
    layer.build(make.shape)
    with pytest.raises(NotImplementedError, match=r"fold it first.*'mine'"):
        layer.enable_lora(2)
    with pytest.raises(NotImplementedError, match=r"fold it first.*'mine'"):
        layer.quantize("int8")
    plain = layer.fold()
    if hasattr(plain, "enable_lora"):
        plain.enable_lora(2)
        assert plain.lora_rank == 2


@pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="JAX has float64 only behind a switch of the whole process",
)
@each_layer
def test_float64_policy_computes_in_float64(make, correlated):
    layer = make(dtype="float64", momentum=0.0)
    inputs = correlated(*make.shape).astype("float64")
    outputs = layer(inputs, training=True)
    single = make(momentum=0.0)
    single.build(make.shape)
    for mine, other in zip(
        single.trainable_weights, layer.trainable_weights, strict=True
    ):
        mine.assign(ops.cast(other, "float32"))
    compare.assert_close(
        single(inputs, training=True), ops.convert_to_numpy(outputs), 1e-4
    )
    for weight in layer.non_trainable_weights:
        assert weight.dtype == layer.statistics_dtype == "float64"
    assert keras.backend.standardize_dtype(outputs.dtype) == "float64"


@each_layer
def test_unbuilt_layer_cannot_be_folded(make):
    with pytest.raises(ValueError, match=r"must be built.*unbuilt"):
        make().fold()


@each_layer
def test_fold_keeps_name_policy_and_flag(make):
    layer = make(name="kept", dtype="mixed_bfloat16", trainable=False)
    layer.build(make.shape)
    plain = layer.fold()
    assert plain.name == "kept"
    assert plain.trainable is False
    for part in getattr(plain, "layers", [plain]):
        assert part.dtype_policy == layer.dtype_policy
        assert part.trainable is False


@each_drop_in
def test_fold_takes_an_activation_that_has_no_configuration(make):
    class Swish:
        def __call__(self, x):
            return x * ops.sigmoid(x)

    activation = Swish()
    layer = make(activation=activation)
    layer.build(make.shape)
    plain = layer.fold()
    plain = getattr(plain, "layers", [plain])[-1]
    assert type(plain) is make.plain
    assert plain.activation is activation


def test_policy_of_quantization_is_refused():
    layer = keras_deconv.DeconvDense(4, dtype="int8_from_float32")
    with pytest.raises(NotImplementedError, match="fold it first"):
        layer.build((None, 3))

"""What all deconvolution layers have in common."""

import keras
import numpy as np
import pytest
from keras import ops

import compare
from keras_deconv import DeconvConv2D
from keras_deconv import DeconvDense

# How to make each layer, and the shape of inputs it takes.
LAYERS = {
    "conv2d": (lambda **kw: DeconvConv2D(4, 3, **kw), (4, 8, 8, 3)),
    "dense": (lambda **kw: DeconvDense(4, **kw), (32, 6)),
}
each_layer = pytest.mark.parametrize(
    ("make", "shape"), LAYERS.values(), ids=LAYERS.keys()
)


def numpy_state(layer):
    return [
        ops.convert_to_numpy(w)
        for w in (layer.moving_mean, layer.moving_deconv)
    ]


@each_layer
def test_state_starts_at_zero_and_identity(make, shape):
    layer = make()
    layer.build(shape)
    mean, deconv = numpy_state(layer)
    assert not mean.any()
    np.testing.assert_array_equal(deconv, np.eye(deconv.shape[-1])[None])
    assert [w.name for w in layer.trainable_weights] == ["kernel", "bias"]
    assert [w.name for w in layer.non_trainable_weights] == [
        "moving_mean",
        "moving_deconv",
    ]


@each_layer
@pytest.mark.parametrize("training", [False, None, "frozen"])
def test_inference_leaves_the_state_alone(make, shape, training, correlated):
    layer, inputs = make(), correlated(*shape)
    layer(inputs, training=True)
    before = numpy_state(layer)
    if training == "frozen":
        layer.trainable = False
        frozen = layer(inputs, training=True)
        compare.assert_close(
            frozen, ops.convert_to_numpy(layer(inputs, training=False))
        )
    else:
        layer(inputs, training=training)
    for value, kept in zip(numpy_state(layer), before, strict=True):
        np.testing.assert_array_equal(value, kept)


@each_layer
def test_training_uses_the_batch_not_the_average(make, shape, correlated):
    layer, inputs = make(), correlated(*shape)
    outputs = ops.convert_to_numpy(layer(inputs, training=True))
    again = layer(inputs, training=True)
    compare.assert_close(again, outputs, 1e-6)
    difference = outputs - ops.convert_to_numpy(layer(inputs, training=False))
    assert np.abs(difference).max() > 0.1 * np.abs(outputs).max()


@each_layer
def test_average_converges_to_the_statistics(make, shape, correlated):
    layer, inputs = make(momentum=0.5), correlated(*shape)
    for _ in range(30):
        outputs = layer(inputs, training=True)
    compare.assert_close(
        layer(inputs, training=False), ops.convert_to_numpy(outputs)
    )


@each_layer
def test_configuration_round_trip(make, shape, correlated):
    settings = {
        "block_size": 2,
        "num_iterations": 3,
        "epsilon": 0.5,
        "momentum": 0.25,
        "activation": "tanh",
        "use_bias": False,
        "kernel_initializer": "ones",
        "name": "some_name",
        "trainable": False,
    }
    if make is LAYERS["conv2d"][0]:
        settings |= {"sampling_stride": 2, "block_layout": "contiguous"}
    layer = make(**settings)
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"].startswith("keras_deconv>Deconv")
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    for name in set(settings) - {"activation", "kernel_initializer"}:
        assert getattr(copy, name) == settings[name]
    layer.trainable = copy.trainable = True
    inputs = correlated(*shape)
    compare.assert_close(
        copy(inputs, training=True),
        ops.convert_to_numpy(layer(inputs, training=True)),
    )


@each_layer
@pytest.mark.parametrize(
    "policy",
    ["float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16"],
)
def test_statistics_stay_float32(make, shape, policy, correlated):
    layer, inputs = make(dtype=policy), correlated(*shape)
    exact = make()
    exact.build(shape)
    layer.build(shape)
    layer.set_weights([w.astype("float32") for w in exact.get_weights()])
    exact.kernel.assign(ops.cast(layer.kernel, "float32"))
    outputs = layer(inputs, training=True)
    wanted = ops.convert_to_numpy(exact(inputs, training=True))
    assert layer.moving_mean.dtype == "float32"
    assert layer.moving_deconv.dtype == "float32"
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


@each_layer
def test_kernel_is_not_rounded_before_it_is_folded(make, shape, correlated):
    """A kernel of 1 + 2^-12 is 1 in half precision: D would see zeros."""
    layer = make(dtype="mixed_float16", use_bias=False)
    layer.build(shape)
    layer.kernel.assign(ops.ones(layer.kernel.shape) * (1 + 2**-12))
    layer.moving_mean.assign(ops.ones(layer.moving_mean.shape))
    inputs = np.ones(shape, "float32") + correlated(*shape) * 0
    folded = ops.convert_to_numpy(layer.fold().bias)
    features = np.prod(layer.kernel.shape[:-1])
    assert folded == pytest.approx(-features * (1 + 2**-12), rel=1e-6)
    assert ops.convert_to_numpy(layer(inputs)) == pytest.approx(0, abs=1e-2)


@each_layer
@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("block_size", [0, -1, 1.5, True, None, "4"]),
        ("num_iterations", [0, -1, 2.5, None]),
        ("epsilon", [0, -1e-5, float("nan"), float("inf"), None, "small"]),
        ("momentum", [-0.1, 1, 1.5, float("nan"), None]),
    ],
)
def test_errors_name_the_rule_and_the_value(make, shape, setting, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"`{setting}` must be") as error:
            make(**{setting: value})
        assert f"Received: {setting}={value!r}" in str(error.value)


@each_layer
def test_unknown_argument_is_refused(make, shape):
    with pytest.raises(ValueError, match="blocksize"):
        make(blocksize=3)


@each_layer
def test_unknown_channels_are_refused(make, shape):
    with pytest.raises(ValueError, match=r"channels.*must be known.*None"):
        make().build((*shape[:-1], None))


@each_layer
def test_low_rank_is_refused(make, shape):
    with pytest.raises(ValueError, match=r"rank \d or more.*\(4,\)"):
        make().build((4,))


@each_layer
def test_empty_training_batch_is_refused(make, shape):
    layer = make()
    layer.build(shape)
    empty = np.zeros((0, *shape[1:]), "float32")
    with pytest.raises(ValueError, match=r"at least one sample.*\(0,"):
        layer(empty, training=True)
    assert layer(empty).shape[0] == 0


@each_layer
def test_lora_and_quantization_ask_to_fold_first(make, shape):
    layer = make(name="mine")
    layer.build(shape)
    with pytest.raises(NotImplementedError, match=r"fold it first.*'mine'"):
        layer.enable_lora(2)
    with pytest.raises(NotImplementedError, match=r"fold it first.*'mine'"):
        layer.quantize("int8")
    layer.fold().enable_lora(2)


@pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="JAX has float64 only behind a switch of the whole process",
)
@each_layer
def test_float64_policy_computes_in_float64(make, shape, correlated):
    layer = make(dtype="float64", momentum=0.0)
    inputs = correlated(*shape).astype("float64")
    outputs = layer(inputs, training=True)
    single = make(momentum=0.0)
    single.build(shape)
    single.kernel.assign(ops.cast(layer.kernel, "float32"))
    compare.assert_close(
        single(inputs, training=True), ops.convert_to_numpy(outputs), 1e-4
    )
    assert layer.moving_deconv.dtype == "float32"
    assert keras.backend.standardize_dtype(outputs.dtype) == "float64"


@each_layer
def test_unbuilt_layer_cannot_be_folded(make, shape):
    with pytest.raises(ValueError, match=r"must be built.*unbuilt"):
        make().fold()


@each_layer
def test_fold_keeps_name_policy_and_flag(make, shape):
    layer = make(
        name="kept", dtype="mixed_bfloat16", trainable=False, use_bias=False
    )
    layer.build(shape)
    plain = layer.fold()
    assert plain.name == "kept"
    assert plain.dtype_policy == layer.dtype_policy
    assert plain.trainable is False
    assert plain.use_bias


@each_layer
def test_fold_takes_an_activation_that_has_no_configuration(make, shape):
    class Swish:
        def __call__(self, x):
            return x * ops.sigmoid(x)

    activation = Swish()
    layer = make(activation=activation)
    layer.build(shape)
    assert layer.fold().activation is activation

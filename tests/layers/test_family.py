"""What every deconvolution layer does inside models and files."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import compare
import family
import gradients
import keras_deconv

BACKEND = keras.backend.backend()
each_layer = pytest.mark.parametrize(
    "make", family.MEMBERS.values(), ids=family.MEMBERS.keys()
)
each_drop_in = pytest.mark.parametrize(
    "make",
    [make for make in family.MEMBERS.values() if make.more],
    ids=[name for name, make in family.MEMBERS.items() if make.more],
)


def in_model(layer, shape, jit_compile="auto"):
    """Returns a compiled model of the layer and a plain one."""
    model = keras.Sequential(
        [keras.Input(shape[1:]), layer, keras.layers.Dense(2, name="head")]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
    return model


def fit(model, inputs):
    """Trains for two steps, to random targets; returns the loss."""
    shape = model.compute_output_shape(inputs.shape)
    targets = np.random.default_rng(1).normal(size=shape)
    history = model.fit(
        inputs, targets.astype("float32"), epochs=2, batch_size=4, verbose=0
    )
    return history.history["loss"][-1]


@pytest.fixture(
    scope="module",
    params=family.MEMBERS.values(),
    ids=family.MEMBERS.keys(),
)
def trained(request):
    """A member, a trained model of it, its old weights, and the loss."""
    keras.utils.set_random_seed(0)
    make = request.param
    model = in_model(make(), make.shape)
    before = family.values(model.layers[0].weights)
    loss = fit(model, family.make_inputs(make.shape))
    return make, model, before, loss


@each_layer
def test_stale_d_fits_batches_of_any_scale(make):
    """What else would keep a deep network from growing between two D."""
    layer = make(update_every=2, warmup_steps=0, epsilon=1e-6)
    inputs = family.make_inputs(make.shape)
    expected = ops.convert_to_numpy(layer(inputs, training=True))
    before = family.values(layer.non_trainable_weights)
    actual = layer(4 * inputs, training=True)
    after = family.values(layer.non_trainable_weights)
    for weight, old, new in zip(
        layer.non_trainable_weights, before, after, strict=True
    ):
        if "batch_" in weight.name:
            np.testing.assert_array_equal(old, new, weight.name)
        # The second half of a separable layer may see the same as before.
        elif not weight.name.startswith("pointwise_"):
            assert not np.array_equal(old, new), weight.name
    compare.assert_close(actual, expected, 1e-4)


def assert_same_weights(model, other):
    for mine, theirs in zip(model.weights, other.weights, strict=True):
        assert mine.name == theirs.name
        np.testing.assert_array_equal(*family.values([mine, theirs]))


def test_fit_changes_every_weight(trained):
    make, model, before, loss = trained
    assert math.isfinite(loss)
    weights = model.layers[0].weights
    names = {weight.name for weight in weights}
    assert names == {*make.trainable, *make.statistics}
    for weight, old in zip(weights, before, strict=True):
        (value,) = family.values([weight])
        assert np.isfinite(value).all()
        # Whitened channels have mean zero where both halves of a separable
        # convolution see the same samples.
        if weight.name != "pointwise_moving_mean":
            assert np.abs(value - old).max() > 1e-3


def test_model_file_keeps_everything(trained, tmp_path):
    make, model, _, _ = trained
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is make.cls
    assert loaded.layers[0].get_config() == model.layers[0].get_config()
    assert_same_weights(loaded, model)
    inputs = family.make_inputs(make.shape, seed=2)
    np.testing.assert_array_equal(
        *family.values(m(inputs) for m in (loaded, model))
    )


def test_weights_file_keeps_every_weight(trained, tmp_path):
    make, model, _, _ = trained
    model.save_weights(tmp_path / "model.weights.h5")
    other = in_model(make(), make.shape)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same_weights(other, model)


def test_fold_predicts_the_same_from_a_file_too(trained, tmp_path):
    make, model, _, _ = trained
    inputs = family.make_inputs(make.shape, seed=2)
    layer = model.layers[0]
    expected = ops.convert_to_numpy(layer(inputs))
    plain = layer.fold()
    assert plain.name == layer.name
    if isinstance(plain, keras.Sequential):
        centre, last = plain.layers
        assert centre.name == f"{layer.name}_centre"
        assert type(last) is make.plain
    else:
        assert type(plain) is make.plain
    compare.assert_close(plain(inputs), expected)
    folded = keras.Sequential([keras.Input(make.shape[1:]), plain])
    folded.save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")
    compare.assert_close(loaded(inputs), expected)


@each_layer
def test_output_shape_is_that_of_the_outputs(make):
    layer = make()
    outputs = layer(family.make_inputs(make.shape))
    expected = tuple(outputs.shape)
    assert tuple(layer.compute_output_shape(make.shape)) == expected
    unknown = make.unknown_shape
    symbolic = layer(keras.KerasTensor(unknown))
    expected = (*[None] * (len(expected) - 1), expected[-1])
    assert tuple(symbolic.shape) == expected
    assert tuple(layer.compute_output_shape(unknown)) == expected


@each_layer
def test_mean_without_columns_is_the_mean_of_all_columns(make):
    layer = make()
    layer.build(make.shape)
    for statistics in layer.all_statistics():
        shape = (*make.shape[:-1], statistics.blocks.channels)
        inputs = family.make_inputs(shape)
        _, mean, _ = statistics.batch.covariance(inputs)
        compare.assert_close(
            statistics.batch.mean(inputs), ops.convert_to_numpy(mean)
        )


@each_layer
@pytest.mark.parametrize(
    "policy",
    # JAX compiles each gradient anew, and computes both alike.
    ["mixed_float16", "mixed_bfloat16"][: 1 if BACKEND == "jax" else 2],
)
def test_gradients_in_half_precision(make, policy):
    layer = make(dtype=policy)
    layer.build(make.shape)
    inputs = family.make_inputs(make.shape).astype("float32")
    upstream = np.random.default_rng(1).normal(
        size=layer.compute_output_shape(make.shape)
    )
    outputs, grad_inputs, grads = gradients.training_step(
        layer,
        ops.cast(inputs, layer.compute_dtype),
        ops.cast(upstream, layer.compute_dtype),
    )
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    assert len(grads) == len(make.trainable)
    for gradient in (grad_inputs, *grads):
        values = ops.convert_to_numpy(ops.cast(gradient, "float32"))
        assert np.isfinite(values).all()
        assert np.abs(values).max() > 1e-3
    for mean, deconv in zip(
        layer.non_trainable_weights[::2],
        layer.non_trainable_weights[1::2],
        strict=True,
    ):
        assert np.isfinite(ops.convert_to_numpy(mean)).all()
        assert np.abs(ops.convert_to_numpy(deconv)).max() > 1e-3


@pytest.mark.skipif(
    BACKEND == "jax",
    reason="JAX compiles for every size; none is unknown to it",
)
@each_layer
def test_unknown_sizes_train_and_predict(make):
    # XLA would compile for every size as well.
    model = in_model(make(), make.unknown_shape, jit_compile=False)
    layer = model.layers[0]
    for extra in (0, 3):
        inputs = family.make_inputs(make.larger(extra))
        before = family.values(layer.non_trainable_weights)
        assert math.isfinite(fit(model, inputs))
        for value, old in zip(
            family.values(layer.non_trainable_weights)[1::2],
            before[1::2],
            strict=True,
        ):
            assert np.abs(value - old).max() > 1e-3
        folded = layer.fold()(inputs)
        compare.assert_close(
            model(inputs), ops.convert_to_numpy(model.layers[1](folded))
        )


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="PyTorch and JAX know all sizes"
)
def test_unknown_sizes_train_compiled(correlated):
    """XLA has no convolution of a gradient whose sizes it does not know."""
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(2, 3),
            keras_deconv.DeconvConv2D(2, 3, update_every=8),
        ]
    )
    model.compile("sgd", "mse", jit_compile=True)
    # The size of the first batch is known when the step is traced.
    for size in (8, 9):
        inputs = correlated(2, size, size, 3)
        targets = np.zeros((2, size - 4, size - 4, 2))
        assert math.isfinite(model.train_on_batch(inputs, targets))


# All layers ask their flag in one place, and compiling five times takes long.
TOGGLED = {
    name: make
    for name, make in family.MEMBERS.items()
    if BACKEND == "torch" or name == "channel"
}


@pytest.mark.filterwarnings("ignore:The model does not have any trainable")
@pytest.mark.parametrize("make", TOGGLED.values(), ids=TOGGLED.keys())
def test_trainable_flag_acts_as_that_of_batch_normalization(make):
    """Compiling once more or not, for a layer or for the whole model."""
    tensor = keras.Input(make.shape[1:])
    layer, head = make(), keras.layers.Dense(2)
    norm = keras.layers.BatchNormalization(center=False, scale=False)
    model = keras.Model(tensor, [head(layer(tensor)), norm(tensor)])
    inputs = family.make_inputs(make.shape)
    targets = [np.zeros(y.shape, "float32") for y in model(inputs)]
    deconvs = [w for w in layer.weights if w.name.endswith("moving_deconv")]

    def learns():
        """Trains for a step; returns whether the statistics have changed."""
        before = family.values([*deconvs, norm.moving_mean])
        model.train_on_batch(inputs, targets)
        after = family.values([*deconvs, norm.moving_mean])
        *changed, as_norm = (
            bool(np.abs(new - old).max() > 1e-6)
            for new, old in zip(after, before, strict=True)
        )
        assert changed == [as_norm] * len(changed)
        return as_norm

    def set_flag(value, *flagged):
        """Sets the flag; trains for a step before and after compiling."""
        trained = len(model.trainable_weights)
        for each in flagged:
            each.trainable = value
        if BACKEND == "jax" and len(model.trainable_weights) != trained:
            # As with any other layer of Keras.
            with pytest.raises(ValueError, match="optimizer was built with"):
                learns()
        elif len(model.trainable_weights) <= trained:
            # Optimizers refuse weights that they do not know.
            learns()
        compile_model()
        assert learns() is value

    def compile_model():
        model.compile(
            keras.optimizers.SGD(1e-3),
            ["mse", "mse"],
            jit_compile="auto" if BACKEND == "jax" else False,
        )

    compile_model()
    assert learns()
    set_flag(False, layer, norm)
    set_flag(True, layer, norm)
    set_flag(False, model)


CHANNELS_FIRST = {
    name: make
    for name, make in family.MEMBERS.items()
    if make.more and make.plain is not keras.layers.Dense
}


@pytest.mark.skipif(
    BACKEND == "tensorflow" and not keras.distribution.list_devices("gpu"),
    reason="TensorFlow has no channels-first convolution on the CPU",
)
@pytest.mark.parametrize(
    "make", CHANNELS_FIRST.values(), ids=CHANNELS_FIRST.keys()
)
def test_channels_first_computes_the_same(make):
    inputs = family.make_inputs(make.shape)
    turned = np.moveaxis(inputs, -1, 1)
    last, first = make(), make(data_format="channels_first")
    last.build(inputs.shape)
    first.build(turned.shape)
    first.set_weights(last.get_weights())
    outputs = ops.convert_to_numpy(last(inputs, training=True))
    compare.assert_close(
        first(turned, training=True), np.moveaxis(outputs, -1, 1)
    )
    assert tuple(first.compute_output_shape(turned.shape)) == (
        np.moveaxis(outputs, -1, 1).shape
    )
    for mine, theirs in zip(first.weights, last.weights, strict=True):
        difference = np.subtract(*family.values([mine, theirs]))
        assert np.abs(difference).max() < 1e-5
    outputs = ops.convert_to_numpy(last(inputs))
    compare.assert_close(first.fold()(turned), np.moveaxis(outputs, -1, 1))


@each_drop_in
def test_arguments_by_position_are_those_of_the_plain_layer(make):
    layer, plain = make.cls(*make.more), make.plain(*make.more)
    config, expected = layer.get_config(), plain.get_config()
    assert expected.keys() <= config.keys()
    differ = {key for key in expected if config[key] != expected[key]}
    assert differ == {"name"}
    least = make.plain(*make.arguments).get_config()
    assert any(expected[key] != least[key] for key in least if key != "name")


@each_drop_in
def test_untrained_layer_is_the_plain_layer(make):
    layer, plain = make.cls(*make.more), make.plain(*make.more)
    layer.build(make.shape)
    plain.build(make.shape)
    for mine, theirs in zip(
        layer.trainable_weights, plain.trainable_weights, strict=True
    ):
        assert mine.name == theirs.name
        mine.assign(theirs)
    inputs = family.make_inputs(make.shape)
    compare.assert_close(layer(inputs), ops.convert_to_numpy(plain(inputs)))


def one_filter_a_feature(taps, channels):
    """Returns a kernel that puts out the features of a patch, in order."""
    features = np.eye(channels * taps).reshape(channels, taps, -1)
    return np.moveaxis(features, 0, 1)


def one_filter_a_tap(taps, channels):
    """Returns the same for a kernel that has its filters for each channel."""
    return np.repeat(np.eye(taps)[:, None], channels, axis=1)


SAMPLE = {"sampling_stride": 1}
OWN = {"block_size": 2, "share_blocks": False}
# For each member: arguments of a layer that puts out what it whitens, a kernel
# that makes it do so, and the shape of its inputs.
WHITENERS = {
    "conv1d": (
        {"filters": 6, "kernel_size": 3, **SAMPLE},
        one_filter_a_feature(3, 2),
        (9, 10, 2),
    ),
    "conv2d": (
        {
            "filters": 24,
            "kernel_size": (2, 3),
            "block_layout": "contiguous",
            **OWN,
            **SAMPLE,
        },
        one_filter_a_feature(6, 4),
        (5, 6, 7, 4),
    ),
    "conv3d": (
        {"filters": 16, "kernel_size": 2, **SAMPLE},
        one_filter_a_feature(8, 2),
        (4, 4, 4, 5, 2),
    ),
    "depthwise1d": (
        {"kernel_size": 3, "depth_multiplier": 3, **SAMPLE},
        one_filter_a_tap(3, 2),
        (9, 10, 2),
    ),
    "depthwise2d": (
        {"kernel_size": 2, "depth_multiplier": 4, **SAMPLE},
        one_filter_a_tap(4, 3),
        (4, 6, 6, 3),
    ),
    "separable1d": (
        {"filters": 4, "kernel_size": 3, **SAMPLE},
        np.eye(4),
        (9, 10, 4),
    ),
    "separable2d": (
        {"filters": 3, "kernel_size": 2, **SAMPLE},
        np.eye(3),
        (5, 6, 6, 3),
    ),
    "conv2d_transpose": (
        {"filters": 4, "kernel_size": 1, **SAMPLE},
        np.eye(4),
        (5, 6, 6, 4),
    ),
    "dense": ({"units": 6, **OWN}, np.eye(6), (90, 6)),
    "channel": (SAMPLE, None, (5, 6, 6, 4)),
}


@pytest.mark.parametrize(
    "name",
    # JAX compiles all for each shape. That layers whiten what they should is
    # compared with the oracle as well; this says that it is whitening.
    ["conv2d", "separable2d", "channel"] if BACKEND == "jax" else WHITENERS,
)
def test_whitened_features_have_covariance_one_up_to_the_ridge(name):
    arguments, kernel, shape = WHITENERS[name]
    make, epsilon = family.MEMBERS[name].make, 1e-2
    layer = make(**arguments, method="eigh", epsilon=epsilon, momentum=0.0)
    layer.build(shape)
    if kernel is not None:
        weight = layer.trainable_weights[-2]
        weight.assign(kernel.reshape(weight.shape))
    outputs = layer(family.make_inputs(shape), training=True)
    (deconvs,) = family.values([layer.non_trainable_weights[-1]])
    matrices, features, _ = deconvs.shape
    columns = ops.convert_to_numpy(outputs).astype("float64")
    columns = columns.reshape(-1, matrices, features)
    for index, deconv in enumerate(deconvs):
        covariance = np.cov(columns[:, index], rowvar=False, bias=True)
        # Cov(x D) is D Cov D, and D^-2 is Cov with the ridge.
        expected = np.eye(features) - epsilon * deconv @ deconv
        compare.assert_close(covariance, expected, 1e-4)
    np.testing.assert_allclose(columns.mean(0), 0, atol=1e-4)

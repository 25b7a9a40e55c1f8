"""Folding of batch normalization, warm start, and recalibration."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import authors
import compare
import containers
import keras_deconv
import networks
import oracle
from keras_deconv import deconvolutionize
from keras_deconv import plan
from keras_deconv import recalibrate
from keras_deconv import restore

BATCH_NORM = layers.BatchNormalization


def separable():
    """Whitens twice in one layer, over blocks that share their statistics."""
    inputs = keras.Input((8, 8, 4))
    x = layers.SeparableConv2D(6, 3, use_bias=False, name="sep")(inputs)
    x = layers.ReLU()(BATCH_NORM()(x))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def tangled():
    """Outputs that normalization shares, and a norm on the wrong axis."""
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(4, 3, padding="same", name="shared_output")(inputs)
    y = BATCH_NORM(name="frozen")(x)
    z = layers.Conv2D(4, 3, padding="same", activation="relu")(x + y)
    z = BATCH_NORM(name="after_activation")(z)
    z = BATCH_NORM(axis=1, name="rows", scale=False)(
        layers.Conv2D(4, 3, padding="same", name="rows_conv")(z)
    )
    z = BATCH_NORM(axis=-1, center=False, name="taken")(
        layers.Conv2D(4, 1, use_bias=False, name="taker")(z)
    )
    return keras.Model(inputs, z)


MAKERS = {
    **networks.ALL,
    "separable": separable,
    "tangled": tangled,
    **containers.ALL,
}
each_model = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def with_statistics(make):
    model = make()
    networks.randomize(model)
    rng = np.random.default_rng(3)
    for layer in model._flatten_layers():
        if isinstance(layer, BATCH_NORM):
            shape = layer.moving_mean.shape
            if layer.scale:  # Of either sign.
                layer.gamma.assign(rng.normal(size=shape))
            layer.moving_variance.assign(rng.uniform(0.3, 2, shape))
    return model


def batches(model, n=3):
    try:
        return [networks.inputs_of(model, seed) for seed in range(n)]
    except AttributeError:  # Subclassed models have no symbolic input.
        return [containers.images(seed) for seed in range(n)]


@each_model
def test_folded_normalization_preserves_the_function(make):
    model = with_statistics(make)
    batch = batches(model)[-1]
    twin = deconvolutionize(model, batch_norm="fold")
    compare.assert_close(
        networks.flat(twin(batch)), networks.flat(model(batch))
    )
    assert not any(isinstance(la, BATCH_NORM) for la in twin._flatten_layers())
    assert not any(
        weight.trainable
        for layer in twin._flatten_layers()
        if isinstance(layer, keras_deconv.ChannelAffine)
        for weight in layer.weights
    )


def test_where_normalization_goes():
    found = {
        entry.path: (entry.action, entry.reason)
        for entry in plan(tangled(), batch_norm="fold").entries
        if entry.kind == "BatchNormalization"
    }
    frozen = ("freeze", "no convolution can take it in")
    assert found == {
        "frozen": frozen,
        "after_activation": frozen,
        "rows": frozen,
        "taken": ("fold", "into taker"),
    }


@each_model
@pytest.mark.parametrize("settings", [{}, {"block_size": 2, "epsilon": 1e-3}])
def test_warm_start_preserves_the_function(make, settings):
    model = with_statistics(make)
    data = batches(model)
    twin = deconvolutionize(model, calibration_data=data, **settings)
    unseen = batches(model, 4)[-1]
    compare.assert_close(
        networks.flat(twin(unseen)), networks.flat(model(unseen)), 1e-4
    )
    moved = [
        np.abs(ops.convert_to_numpy(layer.moving_mean)).max() > 0
        for layer in twin._flatten_layers()
        if isinstance(layer, keras_deconv.layers.Whitening)
        and not isinstance(layer, keras_deconv.layers.TRANSPOSED)
    ]
    assert moved
    assert all(moved)


def test_warm_started_model_restores(tmp_path):
    model = with_statistics(separable)
    data = batches(model)
    twin = deconvolutionize(model, calibration_data=iter(data))
    for undone in (keras_deconv.fold(twin), restore(twin)):
        compare.assert_close(
            networks.flat(undone(data[0])), networks.flat(model(data[0])), 1e-4
        )
    twin.save(tmp_path / "twin.keras")
    loaded = keras.models.load_model(tmp_path / "twin.keras")
    np.testing.assert_array_equal(
        networks.flat(loaded(data[0])), networks.flat(twin(data[0]))
    )


def test_warm_start_keeps_normalization_if_asked():
    model = with_statistics(networks.pre_activation)
    data = batches(model)
    twin = deconvolutionize(model, calibration_data=data, batch_norm="keep")
    assert any(isinstance(layer, BATCH_NORM) for layer in twin.layers)
    compare.assert_close(
        networks.flat(twin(data[0])), networks.flat(model(data[0])), 1e-4
    )


@pytest.mark.parametrize("average", ["covariance", "deconv"])
def test_recalibrated_statistics_are_those_of_the_data(average, rng):
    model = keras.Sequential(
        [
            keras.Input((7, 5)),
            authors.DeconvConv1D(4, 3, block_size=2, sampling_stride=1),
        ]
    )
    sizes = (4, 9, 2)
    data = [
        rng.normal(size=(n, 7, 5)).astype("float32") * (n / 4) + n
        for n in sizes
    ]
    before = networks.flat(model(data[0]))
    again = recalibrate(model, [(x, None) for x in data], average=average)
    np.testing.assert_array_equal(networks.flat(model(data[0])), before)
    (layer,) = again.layers
    parts = [patches_of(layer, x) for x in data]
    together = np.concatenate(parts)
    if average == "covariance":
        expected = oracle.inverse_sqrt(covariance(together), 5)
    else:
        expected = np.mean(
            [oracle.inverse_sqrt(covariance(x), 5) for x in parts], axis=0
        )
    compare.assert_close(
        ops.convert_to_numpy(layer.moving_deconv)[0], expected, 1e-4
    )
    compare.assert_close(
        ops.convert_to_numpy(layer.moving_mean)[0], together.mean(0), 1e-5
    )


def patches_of(layer, inputs):
    """Rows of a layer with one block, in float64."""
    stats = layer.all_statistics()[0]
    columns = keras_deconv.ops.split_columns(
        stats.batch.samples.patches(ops.convert_to_tensor(inputs)), stats.blocks
    )
    return ops.convert_to_numpy(columns)[0].astype("float64")


def covariance(rows):
    centred = rows - rows.mean(0)
    return centred.T @ centred / len(rows) + 1e-5 * np.eye(rows.shape[1])


def test_recalibration_goes_layer_by_layer_as_in_training():
    twin = deconvolutionize(networks.sequential())
    batch = networks.inputs_of(twin)
    again = recalibrate(twin, [batch])
    compare.assert_close(
        networks.flat(again(batch)),
        networks.flat(twin(batch, training=True)),
        1e-4,
    )


def test_recalibration_leaves_frozen_layers():
    twin = deconvolutionize(networks.sequential())
    twin.get_layer("first").trainable = False
    again = recalibrate(twin, [networks.inputs_of(twin)])
    first, second = (again.get_layer(name) for name in ("first", "second"))
    assert not ops.convert_to_numpy(first.moving_mean).any()
    assert ops.convert_to_numpy(second.moving_mean).any()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "at least one batch"),
        (np.zeros((2, 12, 12, 3), "float32"), "an iterable of batches"),
        ({"image": np.zeros((2, 12, 12, 3))}, "one dict with the keys"),
        (5, "an iterable of batches.*5"),
    ],
)
def test_bad_data(data, message):
    twin = deconvolutionize(networks.sequential())
    with pytest.raises(ValueError, match=message):
        recalibrate(twin, data)
    with pytest.raises(ValueError, match=message):
        deconvolutionize(networks.sequential(), calibration_data=data)


def test_unknown_average():
    with pytest.raises(ValueError, match=r"`average` must be one of.*'mode'"):
        recalibrate(deconvolutionize(networks.sequential()), [], average="mode")


@pytest.mark.filterwarnings("ignore:.*has nothing to convert")
def test_layers_that_were_deconvolved_before_keep_their_statistics(correlated):
    data = correlated(32, 6, 6, 3)
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="second")(x))
    once = deconvolutionize(model, include="first", calibration_data=[data])
    twice = deconvolutionize(once, calibration_data=[data])
    again = deconvolutionize(twice, calibration_data=[data])
    wanted = ops.convert_to_numpy(model(data))
    for twin in (once, twice, again):
        compare.assert_close(twin(data), wanted, 1e-4)


def test_batches_with_nan_are_left_out(correlated):
    data = correlated(2, 16, 6, 6, 3)
    bad = np.where(data[0] > 2, np.float32(np.nan), data[0])
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3)(inputs))
    wanted = ops.convert_to_numpy(model(data[0]))
    with pytest.warns(UserWarning, match="left out. Received: 1 of them"):
        twin = deconvolutionize(model, calibration_data=[bad, *data])
    compare.assert_close(twin(data[0]), wanted, 1e-4)
    with pytest.warns(UserWarning, match="left out. Received: 1 of them"):
        other = recalibrate(twin, [bad, *data])
    clean = recalibrate(twin, list(data))
    for mine, wanted in zip(
        other.get_weights(), clean.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(mine, wanted)


def test_a_generator_is_not_kept_where_one_pass_is_enough():
    data = np.random.default_rng(0).normal(size=(4, 6, 6, 3))
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3)(inputs))
    alive = []

    def generate():
        for _ in range(8):
            batch = data.astype("float32")
            alive.append(weakref.ref(batch))
            yield batch
            del batch
            gc.collect()
            assert sum(each() is not None for each in alive) <= 3

    deconvolutionize(model, calibration_data=generate())
    assert len(alive) == 8


def test_a_model_without_averages_is_said():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    with pytest.warns(UserWarning, match="no averages to replace"):
        keras_deconv.recalibrate(model, [np.zeros((4, 6), "float32")])


@pytest.mark.parametrize(
    ("batches", "received"),
    [
        ("folder", "'folder'"),
        ((np.zeros((4, 6)), np.zeros(4)), "a tuple of inputs and targets"),
    ],
)
def test_what_is_no_batches_is_refused(batches, received):
    model = keras.Sequential([keras.Input((6,)), keras_deconv.DeconvDense(3)])
    with pytest.raises(ValueError, match=f"iterable of batches.*{received}"):
        keras_deconv.recalibrate(model, batches)


class Noisy(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, inputs):
        noise = keras.random.normal(ops.shape(inputs), seed=self.seed_generator)
        return inputs + noise


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_predictions_are_found_alike(policy, rng):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu", dtype=policy),
            Noisy(),
            layers.Dense(8, activation="relu", dtype=policy),
            layers.Dense(2, dtype=policy),
        ]
    )
    inputs = rng.normal(size=(64, 6)).astype("float32")
    model(inputs)
    # Without a warning, which the suite takes for an error.
    twin = deconvolutionize(model, calibration_data=[inputs])
    assert len(twin.weights) > len(model.weights)


class InTraining(keras.Model):
    def __init__(self):
        super().__init__()
        self.main = layers.Dense(2)
        more = layers.Dense(2, name="more")
        self.more = keras.Sequential([keras.Input((3,)), more])

    def call(self, inputs, training=None):
        outputs = self.main(inputs)
        return outputs + self.more(inputs) if training else outputs

    def get_config(self):
        return {}


def test_layers_that_no_batch_reaches_are_named(rng):
    model = InTraining()
    inputs = rng.normal(size=(16, 3)).astype("float32")
    model(inputs, training=True)
    with pytest.warns(UserWarning, match="reach every layer.*Received: more$"):
        deconvolutionize(model, calibration_data=[inputs])


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="functions of TensorFlow"
)
def test_traced_calls_are_forgotten(rng):
    import tensorflow as tf

    class Traced(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        @tf.function
        def call(self, inputs):
            return self.dense(inputs)

        def get_config(self):
            return {}

    inputs = rng.normal(size=(64, 3)).astype("float32")
    model = Traced()
    expected = model(inputs)
    (entry,) = plan(model).entries
    assert (entry.action, entry.reason) == ("deconvolve", "")
    twin = deconvolutionize(model, calibration_data=[inputs])
    compare.assert_close(twin(inputs), expected, 1e-4)
    assert np.abs(twin.dense.moving_mean).max() > 0
    twin.dense.kernel.assign(0 * twin.dense.kernel)
    assert np.abs(twin(inputs) - twin.dense.bias).max() == 0

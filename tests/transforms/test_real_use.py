"""Models as people write them, and what they do with them."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import compare
from keras_deconv import DeconvConv2D
from keras_deconv import deconvolutionize
from keras_deconv import fold
from keras_deconv import plan
from keras_deconv import recalibrate
from keras_deconv import restore
from keras_deconv.layers import Whitening

BATCH_NORM = layers.BatchNormalization
SHAPE = (6, 6, 3)


@pytest.fixture
def images(correlated):
    return correlated(8 * 6 * 6, 3).reshape(8, *SHAPE)


def small(**norm):
    """A convolution with batch normalization, and a head."""
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    x = BATCH_NORM(name="norm", **norm)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def train(model, images):
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((len(images), 2)), epochs=1, verbose=0)


def actions(found):
    return {entry.path: entry.action for entry in found.entries}


def reason(found, path):
    (entry,) = (entry for entry in found.entries if entry.path == path)
    return entry.reason


def test_training_a_copy_leaves_what_it_was_made_from(images):
    """JAX deletes the buffers that a training step has used."""
    model = small()
    twin = deconvolutionize(model)
    other = recalibrate(twin, [images])
    train(twin, images)
    train(other, images)
    for each in (model, twin, other, fold(twin), deconvolutionize(model)):
        assert np.isfinite(each.predict(images, verbose=0)).all()


class Noise(layers.Layer):
    """Its state moves at inference too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(1)

    def build(self, input_shape):
        self.calls = self.add_weight(
            name="calls", initializer="zeros", trainable=False
        )

    def call(self, inputs):
        self.calls.assign_add(1.0)
        noise = keras.random.normal(ops.shape(inputs), seed=self.generator)
        return inputs + noise


def test_state_that_moves_at_inference_is_left_alone(images):
    inputs = keras.Input(SHAPE)
    x = Noise(name="noise")(layers.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, x)
    before = [ops.convert_to_numpy(each) for each in model.variables]
    plan(model)
    twin = deconvolutionize(model, calibration_data=[images])
    restore(twin)
    for weight, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), value)
    model.predict(images, verbose=0)


class Block(layers.Layer):
    """Not registered with Keras."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3)

    def build(self, input_shape):
        self.conv.build(input_shape)

    def call(self, inputs):
        return self.conv(inputs)


def test_layer_that_is_not_registered(images):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, Block(name="block")(inputs))
    twin = deconvolutionize(model)
    twin(images, training=True)
    expected = twin(images)
    for other in (fold(twin), restore(twin), keras.models.clone_model(twin)):
        if other.count_params() == twin.count_params():
            other.set_weights(twin.get_weights())
        compare.assert_close(other(images), expected)
    assert type(restore(twin).get_layer("block")) is Block


@pytest.mark.parametrize(
    "norm",
    [
        {"gamma_initializer": "zeros"},
        {"beta_initializer": "ones"},
        {"moving_mean_initializer": "ones"},
        {"gamma_initializer": "zeros", "center": False},
    ],
    ids=lambda norm: "-".join(norm),
)
@pytest.mark.parametrize("batch_norm", ["remove", "fold"])
def test_restored_norm_is_the_identity(norm, batch_norm, images):
    twin = deconvolutionize(small(**norm), batch_norm=batch_norm)
    expected = ops.convert_to_numpy(twin(images))
    for each in (restore(twin), fold(twin)):
        actual = ops.convert_to_numpy(each(images))
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_frozen_norm_with_a_gamma_of_zero(images):
    model = keras.Sequential(
        [keras.Input(SHAPE), BATCH_NORM(center=False), layers.Conv2D(2, 3)]
    )
    model.layers[0].gamma.assign([1.0, 0.0, 2.0])
    expected = model(images)
    twin = deconvolutionize(model, calibration_data=[images])
    for each in (twin, fold(twin), restore(twin)):
        compare.assert_close(each(images), expected, 1e-4)


def test_transposed_convolution_before_a_norm(images):
    inputs = keras.Input(SHAPE)
    x = layers.Conv2DTranspose(2, 3, use_bias=False)(inputs)
    twin = deconvolutionize(keras.Model(inputs, BATCH_NORM()(x)))
    twin(images, training=True)
    compare.assert_close(restore(twin)(images), twin(images))


class Tripled(BATCH_NORM):
    def call(self, inputs, training=None, mask=None):
        return 3 * super().call(inputs, training=training)


def test_subclass_of_batch_normalization_stays(images):
    inputs = keras.Input(SHAPE)
    x = Tripled(name="norm")(layers.Conv2D(2, 3, name="conv")(inputs))
    model = keras.Model(inputs, x)
    found = plan(model)
    assert actions(found) == {"conv": "deconvolve", "norm": "keep"}
    assert "subclass of BatchNormalization" in reason(found, "norm")
    twin = deconvolutionize(model, calibration_data=[images])
    compare.assert_close(twin(images), model(images), 1e-4)


def test_tied_weights_stay_tied(images):
    inner = layers.Dense(5, use_bias=False, name="inner")
    tied = layers.SpectralNormalization(inner, name="tied")
    model = keras.Sequential([keras.Input(SHAPE), tied])
    assert "another layer" in reason(plan(model), "tied/inner")
    with pytest.warns(UserWarning, match="nothing to convert"):
        twin = deconvolutionize(model)
    assert twin.layers[0].kernel is twin.layers[0].layer.kernel


class TestContainers:
    """What is said of a container holds for the layers in it."""

    @pytest.fixture
    def model(self):
        inner = keras.Sequential(
            [layers.Conv2D(2, 3, name="a"), layers.Conv2D(2, 3, name="b")],
            name="inner",
        )
        return keras.Sequential(
            [keras.Input(SHAPE), inner, layers.Dense(2, name="head")]
        )

    @pytest.mark.parametrize(
        "selector", ["inner", keras.Sequential, [keras.Sequential]]
    )
    def test_exclude(self, model, selector):
        found = actions(plan(model, exclude=selector))
        assert found["inner/a"] == found["inner/b"] == "leave"
        assert found["head"] == "deconvolve"

    def test_include(self, model):
        found = actions(plan(model, include="inner"))
        assert found["inner/a"] == "deconvolve"
        assert found["head"] == "leave"

    def test_rules(self, model):
        rules = [("inner", {"num_iterations": 2}), ("b", None)]
        twin = deconvolutionize(model, rules=rules)
        a, b = twin.get_layer("inner").layers
        assert a.num_iterations == 2
        assert not isinstance(b, Whitening)


class UsedTwice(keras.Model):
    """Code, not a graph, uses the output of a convolution twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3)
        self.norm = BATCH_NORM(moving_mean_initializer="ones")
        self.head = layers.Dense(1)

    def call(self, inputs):
        x = self.conv(inputs)
        return self.head(ops.relu(x + self.norm(x)))


def test_large_bias_does_not_hide_a_wrong_fold(images):
    model = UsedTwice()
    model(images)
    model.head.bias.assign([3000.0])
    twin = deconvolutionize(model, calibration_data=[images])
    expected = ops.convert_to_numpy(model(images)) - 3000
    compare.assert_close(ops.subtract(twin(images), 3000), expected, 1e-2)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="Keras has no lookup in JAX"
)
def test_vocabulary_is_copied():
    pytest.importorskip("tensorflow", reason="Keras looks words up with it")
    lookup = layers.IntegerLookup(name="lookup")
    lookup.adapt([10, 20, 30])
    inputs = keras.Input((6,), dtype="int64")
    x = layers.Embedding(5, 4)(lookup(inputs))
    model = keras.Model(inputs, layers.Conv1D(2, 3)(x))
    tokens = np.array([[10, 20, 30, 10, 20, 30], [30, 30, 7, 10, 10, 20]])
    twin = deconvolutionize(model)
    assert twin.get_layer("lookup").get_vocabulary() == lookup.get_vocabulary()
    compare.assert_close(fold(model)(tokens), model(tokens))


def test_loader_of_torch(images):
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    pairs = data.TensorDataset(torch.tensor(images), torch.zeros(len(images)))
    model = small()
    twin = deconvolutionize(
        model, calibration_data=data.DataLoader(pairs, batch_size=4)
    )
    compare.assert_close(twin(images), model(images), 1e-4)


def test_norm_of_another_dtype():
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(
        2, 3, use_bias=False, dtype="mixed_bfloat16", name="conv"
    )(inputs)
    model = keras.Model(inputs, BATCH_NORM(dtype="float32", name="norm")(x))
    assert actions(plan(model, exclude="conv"))["norm"] == "keep"
    assert actions(plan(model, batch_norm="fold"))["norm"] == "fold"
    (conv, _) = plan(model).entries
    assert conv.adds_bias


def test_norm_of_two_convolutions_that_stay(images):
    inputs = keras.Input(SHAPE)
    norm = BATCH_NORM(name="norm")
    outputs = [
        norm(layers.Conv2D(2, 3, use_bias=False, name=name)(inputs))
        for name in ("a", "b")
    ]
    model = keras.Model(inputs, outputs)
    assert actions(plan(model, exclude="b"))["norm"] == "keep"
    found = plan(model)
    assert actions(found)["norm"] == "remove"
    assert [entry.adds_bias for entry in found.entries] == [True, True, False]


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_separable_convolution_of_few_bits(policy, images):
    model = keras.Sequential(
        [keras.Input(SHAPE), layers.SeparableConv2D(4, 3, dtype=policy)]
    )
    twin = deconvolutionize(model, calibration_data=[images])
    expected = ops.convert_to_numpy(ops.cast(model(images), "float32"))
    compare.assert_close(ops.cast(twin(images), "float32"), expected, 0.1)


def test_call_that_was_replaced_stays(images):
    model = small()
    conv = model.get_layer("conv")
    conv.call = lambda inputs, call=conv.call: 10 * call(inputs)
    expected = model(images)
    plan(model)
    compare.assert_close(model(images), expected)


class InSet(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.branches = {layers.Conv2D(2, 3, name="branch")}

    def call(self, inputs):
        (conv,) = self.branches
        return conv(inputs)


def test_layer_in_a_set(images):
    model = InSet()
    model(images)
    twin = deconvolutionize(model)
    (conv,) = twin.branches
    assert type(conv) is DeconvConv2D


def test_single_weights_stay_frozen(images):
    model = small()
    model.get_layer("conv").kernel.trainable = False
    twin = deconvolutionize(model)
    for each in (twin, fold(twin), restore(twin)):
        assert not each.get_layer("conv").kernel.trainable

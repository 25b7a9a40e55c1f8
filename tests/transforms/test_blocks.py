"""Blocks as people write them: of several inputs, and not registered."""

from typing import ClassVar

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import compare
from keras_deconv import deconvolutionize
from keras_deconv import fold
from keras_deconv import recalibrate
from keras_deconv import restore

SHAPE = (6, 6, 3)


class _Merge(layers.Layer):
    """A convolution of two inputs; it has no `build`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 3, use_bias=False)
        self.norm = layers.BatchNormalization()

    def merge(self, x, skip, training):
        x = self.conv(ops.concatenate([x, skip], axis=-1))
        return self.norm(x, training=training)


@keras.saving.register_keras_serializable("blocks")
class OfList(_Merge):
    def call(self, inputs, training=None):
        return self.merge(*inputs, training)


@keras.saving.register_keras_serializable("blocks")
class OfDict(_Merge):
    def call(self, inputs, training=None):
        return self.merge(inputs["x"], inputs["skip"], training)


@keras.saving.register_keras_serializable("blocks")
class OfArguments(_Merge):
    def call(self, x, skip, training=None):
        return self.merge(x, skip, training)


CALLS = {
    "list": lambda x, skip: OfList()([x, skip]),
    "dict": lambda x, skip: OfDict()({"x": x, "skip": skip}),
    "arguments": lambda x, skip: OfArguments()(x, skip),
    "by name": lambda x, skip: OfArguments()(x, skip=skip),
}


@pytest.fixture
def data(correlated):
    return correlated(6, *SHAPE)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_block_of_two_inputs(call, data, tmp_path):
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    twin = deconvolutionize(keras.Model(inputs, call(x, inputs)), momentum=0.5)
    twin(data, training=True)
    wanted = ops.convert_to_numpy(twin(data))
    twin.save(tmp_path / "twin.keras")
    loaded = keras.models.load_model(tmp_path / "twin.keras")
    for each in (loaded, fold(twin), restore(twin), fold(loaded)):
        compare.assert_close(each(data), wanted)
    recalibrate(loaded, [data])


def half(x):
    return x / 2


class Unknown(layers.Layer):
    """Not registered; its configuration names a function that is not."""

    def __init__(self, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.conv = layers.Conv2D(2, 3, activation=activation)

    def call(self, x):
        return self.conv(x)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}


class Around(layers.Wrapper):
    def call(self, x):
        return self.layer(x)


class Other(Unknown):
    pass


# Keras builds what a wrapper holds without calling it.
@pytest.mark.filterwarnings("ignore:.build... was called on layer")
@pytest.mark.parametrize("wrap", [lambda block: block, Around])
def test_unregistered_blocks(wrap, data, tmp_path):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, wrap(Unknown(half))(inputs))
    twin = deconvolutionize(model, momentum=0.5)
    twin(data, training=True)
    wanted = ops.convert_to_numpy(twin(data))
    folded, restored = fold(twin), restore(twin)
    folded.save(tmp_path / "folded.keras")
    twin.save(tmp_path / "twin.keras")
    # Keras finds converted containers by one name, whatever class they have.
    deconvolutionize(keras.Model(inputs, Other()(inputs)))
    objects = {each.__name__: each for each in (Unknown, Around, half)}
    loaded = [
        keras.models.load_model(tmp_path / name, custom_objects=objects)
        for name in ("folded.keras", "twin.keras")
    ]
    for each in (folded, restored, *loaded):
        compare.assert_close(each(data), wanted)


class Registry(layers.Layer):
    """Notes its subclasses by an argument that they must give."""

    known: ClassVar = {}

    def __init_subclass__(cls, *, key, **kwargs):
        super().__init_subclass__(**kwargs)
        Registry.known[key] = cls


@keras.saving.register_keras_serializable("blocks")
class Listed(Registry, key="listed"):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(2, 3)

    def call(self, x):
        return self.conv(x)


def test_classes_that_list_their_subclasses(data):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, Listed()(inputs))
    twin = deconvolutionize(model, calibration_data=[data])
    compare.assert_close(twin(data), ops.convert_to_numpy(model(data)), 1e-4)
    assert Registry.known == {"listed": Listed}
    assert isinstance(twin.layers[-1], Listed)
    assert np.isfinite(ops.convert_to_numpy(fold(twin)(data))).all()


class Captures(keras.Model):
    """Calls one layer by a function of its own, and one by its name."""

    def __init__(self):
        super().__init__()
        self.conv = conv = layers.Conv2D(4, 3, name="captured")
        self.head = layers.Conv2D(4, 3, name="named")
        self.function = lambda x: conv(x)

    def call(self, x):
        return self.head(self.function(x))

    def get_config(self):
        return {}


def test_captured_layers_are_told(data):
    model = Captures()
    model(data)
    with pytest.warns(UserWarning, match="Received: captured$"):
        deconvolutionize(model)


class Tied(keras.Model):
    """An autoencoder whose decoder is the kernel of its encoder."""

    def __init__(self):
        super().__init__()
        self.flat = layers.Flatten()
        self.encoder = layers.Dense(5, name="encoder")

    def call(self, x):
        code = self.encoder(self.flat(x))
        return ops.matmul(code, ops.transpose(self.encoder.kernel))

    def get_config(self):
        return {}


def test_kernels_used_by_code_are_told(data):
    model = Tied()
    model(data)
    with pytest.warns(UserWarning, match="do not predict the same"):
        deconvolutionize(model, calibration_data=[data])

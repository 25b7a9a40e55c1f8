"""Which layers are converted where only a part of a model is."""

import keras
import pytest
from keras import layers

from keras_deconv import ChannelDeconv
from keras_deconv import deconvolutionize
from keras_deconv import plan

BATCH_NORM = layers.BatchNormalization


def actions(found):
    return {entry.path: entry.action for entry in found.entries}


def pre_activation():
    """Normalizations with other layers between them and the convolutions."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    y = layers.ReLU()(BATCH_NORM(name="norm_1")(x))
    y = layers.ReLU()(layers.Conv2D(4, 3, padding="same", name="conv_1")(y))
    y = layers.PReLU()(BATCH_NORM(name="norm_2")(y))
    y = layers.Conv2D(4, 3, padding="same", name="conv_2")(y)
    x = BATCH_NORM(name="norm_3")(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


NORMS = ("norm_1", "norm_2", "norm_3")


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({}, ()),
        ({"dense": False}, ()),
        ({"include": "head"}, NORMS),
        ({"include": "stem"}, ("norm_2", "norm_3")),
        ({"exclude": "conv_1"}, ("norm_2",)),
        ({"exclude": "conv_2"}, ("norm_3",)),
        ({"rules": [(layers.Conv2D, None)]}, NORMS),
    ],
)
def test_norm_stays_with_the_convolution_before_it(arguments, kept):
    found = actions(plan(pre_activation(), **arguments))
    assert {name for name in NORMS if found[name] == "keep"} == set(kept)


def test_norm_before_any_kernel_goes_with_what_follows():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(BATCH_NORM(name="norm")(inputs))
    model = keras.Model(inputs, x)
    assert actions(plan(model))["norm"] == "remove"
    assert actions(plan(model, exclude="conv"))["norm"] == "keep"


def test_norm_between_recurrent_layers_stays():
    inputs = keras.Input((5, 3))
    x = layers.LSTM(4, return_sequences=True)(inputs)
    x = layers.LSTM(4)(BATCH_NORM(name="norm")(x))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    found = actions(plan(model))
    assert (found["norm"], found["head"]) == ("keep", "deconvolve")


def test_norm_after_a_deconvolution_goes():
    inputs = keras.Input((8, 8, 3))
    x = ChannelDeconv(name="before")(inputs)
    model = keras.Model(inputs, BATCH_NORM(name="norm")(x))
    assert actions(plan(model))["norm"] == "remove"


def backbone_and_head():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    x = layers.ReLU()(BATCH_NORM(name="norm")(x))
    backbone = keras.Model(inputs, x, name="backbone")
    backbone.trainable = False
    x = layers.GlobalAveragePooling2D()(backbone(inputs))
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def test_frozen_layers_are_left():
    """They run in inference mode, so that their D would never move."""
    found = actions(plan(backbone_and_head()))
    assert found == {
        "backbone/conv": "leave",
        "backbone/norm": "keep",
        "head": "deconvolve",
    }


def test_frozen_layers_are_converted_with_data(correlated):
    data = correlated(4, 8, 8, 3)
    found = actions(plan(backbone_and_head(), calibration_data=[data]))
    assert found["backbone/conv"] == "deconvolve"


class Cell(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.state_size = self.output_size = 3
        self.dense = layers.Dense(3, name="dense")

    def build(self, input_shape):
        self.dense.build((input_shape[0], input_shape[-1] + 3))

    def call(self, inputs, states):
        both = keras.ops.concatenate([inputs, states[0]], axis=-1)
        outputs = keras.ops.tanh(self.dense(both))
        return outputs, [outputs]


def test_cells_are_left():
    """JAX can keep no statistics in the loop over time."""
    inputs = keras.Input((5, 2))
    x = layers.RNN(Cell(name="cell"), name="rnn")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    found = actions(plan(model))
    assert found["rnn/cell/dense"] == "leave"
    assert found["head"] == "deconvolve"


def test_selectors_may_be_generators():
    model = pre_activation()
    names = ("stem", "conv_1")
    found = actions(plan(model, include=(name for name in names)))
    assert (found["stem"], found["conv_2"]) == ("deconvolve", "leave")
    rules = (((name for name in names), {"num_iterations": 2}) for _ in "1")
    twin = deconvolutionize(model, rules=rules)
    assert twin.get_layer("conv_1").num_iterations == 2
    assert twin.get_layer("conv_2").num_iterations == 5


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_plan_counts_frozen_norms(scale, center):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = BATCH_NORM(scale=scale, center=center, name="norm")(x)
    found = plan(keras.Model(inputs, x), batch_norm="fold")
    (entry,) = (each for each in found.entries if each.path == "norm")
    norm = found.apply().get_layer("norm")
    assert entry.action == "freeze"
    assert entry.after.parameters == 0
    assert entry.after.buffers == sum(w.shape[0] for w in norm.weights) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dense": "no"}, "`dense` must be True or False"),
        ({"rules": None}, "`rules` must be a list"),
        ({"preset": ["fast"]}, "`preset` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(pre_activation(), **arguments)

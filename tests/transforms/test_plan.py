import json
import re

import keras
import numpy as np
import pytest
from keras import layers

import networks
from keras_deconv import ChannelDeconv
from keras_deconv import DeconvConv2D
from keras_deconv import deconvolutionize
from keras_deconv import plan

BATCH_NORM = layers.BatchNormalization


def mixed():
    """A convolution of every kind, and a gate on a map of one pixel."""
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(BATCH_NORM(name="stem_norm")(x))
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(4, 3, groups=2, name="grouped")(x)
    x = BATCH_NORM(name="last_norm")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * layers.Conv2D(4, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="mixed")


def actions(found):
    return {entry.path: entry.action for entry in found.entries}


def converted(**arguments):
    found = actions(plan(mixed(), **arguments))
    return {name for name, action in found.items() if action == "deconvolve"}


EVERYTHING = {"stem", "depthwise", "grouped", "gate", "head"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, EVERYTHING),
        ({"dense": False}, EVERYTHING - {"head"}),
        ({"include": "stem"}, {"stem"}),
        ({"include": ["stem", "head"]}, {"stem", "head"}),
        ({"exclude": re.compile("^g")}, EVERYTHING - {"grouped", "gate"}),
        ({"exclude": layers.Dense}, EVERYTHING - {"head"}),
        (
            {"include": lambda path, _: path in ("stem", "grouped")},
            {"stem", "grouped"},
        ),
        (
            {"include": layers.Conv2D, "exclude": ["gate"]},
            {"stem", "grouped"},
        ),
        ({"rules": [("gate", None)]}, EVERYTHING - {"gate"}),
        ({"rules": "stem"}, {"stem"}),
    ],
)  # fmt: skip
def test_selection(arguments, expected):
    assert converted(**arguments) == expected


def test_rules_in_order():
    twin = deconvolutionize(
        mixed(),
        momentum=0.5,
        rules=[
            (layers.Conv2D, {"num_iterations": 4, "epsilon": 0.1}),
            ("stem", {"num_iterations": 15, "freeze_after": 200}),
        ],
    )
    stem, grouped, head = map(twin.get_layer, ("stem", "grouped", "head"))
    assert (stem.num_iterations, stem.epsilon) == (15, 0.1)
    assert stem.freeze_after == 200
    assert (grouped.num_iterations, grouped.freeze_after) == (4, None)
    assert head.num_iterations == 5
    assert stem.momentum == grouped.momentum == head.momentum == 0.5


def test_rules_of_the_paper():
    twin = deconvolutionize(mixed(), rules="paper")
    steps = {
        layer.name: (layer.num_iterations, layer.freeze_after)
        for layer in twin.layers
        if hasattr(layer, "num_iterations")
    }
    assert steps == {
        "stem": (15, 200),
        "depthwise": (1, None),
        "grouped": (3, None),
        "gate": (5, None),
        "head": (5, None),
    }


def test_rules_of_the_paper_find_projections():
    """One follows each depthwise convolution."""
    model = keras.applications.MobileNetV2(
        weights=None, input_shape=(32, 32, 3), alpha=0.35
    )
    twin = deconvolutionize(model, rules="paper")
    steps = {
        layer.name: layer.num_iterations
        for layer in twin.layers
        if hasattr(layer, "num_iterations")
    }
    assert steps["block_1_expand"] == 5
    few = [name for name, count in steps.items() if count == 1]
    assert sum(name.endswith("_project") for name in few) == 17
    assert sum(name.endswith("_depthwise") for name in few) == 17
    assert len(few) == 34


def test_first_convolution_is_the_first_that_is_called():
    late = layers.Conv2D(2, 3, name="late")
    inputs = keras.Input((8, 8, 3))
    x = late(layers.Conv2D(3, 3, name="early")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    found = plan(model, rules="stem")
    assert actions(found)["early"] == "deconvolve"
    assert actions(found)["late"] == "leave"


@pytest.mark.parametrize(
    ("arguments", "stem", "last"),
    [
        ({}, "remove", "remove"),
        ({"batch_norm": "keep"}, "keep", "keep"),
        ({"batch_norm": "fold"}, "fold", "fold"),
        ({"rules": "stem"}, "keep", "keep"),
        ({"exclude": "stem"}, "keep", "remove"),
        ({"exclude": "last_norm"}, "remove", "keep"),
        ({"exclude": "stem", "batch_norm": "fold"}, "fold", "fold"),
    ],
)
def test_normalization(arguments, stem, last):
    found = actions(plan(mixed(), **arguments))
    assert (found["stem_norm"], found["last_norm"]) == (stem, last)


def test_nothing_changes_before_apply():
    model = mixed()
    config, weights = model.get_config(), model.get_weights()
    found = plan(model)
    str(found)
    assert model.get_config() == config
    twin = found.apply()
    assert model.get_config() == config
    for now, then in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)
    assert type(twin.get_layer("stem")) is DeconvConv2D


@pytest.mark.parametrize("make", [mixed, networks.every_class])
@pytest.mark.parametrize("settings", [{}, {"update_every": 4, "block_size": 2}])
def test_counts_are_those_of_the_twin(make, settings):
    found = plan(make(), **settings)
    before, after = found.totals()
    model, twin = found.model, found.apply()
    for cost, network in ((before, model), (after, twin)):
        assert cost.parameters == count(network.trainable_weights)
        assert cost.buffers == count(network.non_trainable_weights)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_operations_of_a_convolution():
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, layers.Conv2D(8, 3)(inputs))
    (entry,) = plan(
        model, block_size=2, num_iterations=2, update_every=1
    ).entries
    plain = 2 * 9 * 4 * 8 * 16
    assert entry.before.flops == plain
    # Four positions of sixteen are sampled, for two blocks of F = 18.
    features, rows = 18, 4 * 2
    per_step = 3 * 2 * features**3 + 2 * features * 9 * 4 * 8
    assert entry.after.flops == pytest.approx(
        plain + 2 * rows * features**2 + per_step / 128
    )


def test_operations_of_a_dense_layer():
    """A D of 512 features is computed by its 128 rows."""
    inputs = keras.Input((512,))
    model = keras.Model(inputs, layers.Dense(10)(inputs))
    (entry,) = plan(model, num_iterations=2, update_every=1).entries
    rows, features = 128, 512
    per_step = 3 * 2 * (2 * rows) ** 3 + 2 * features * 512 * 10
    per_step += 2 * (2 * rows**2 * features + rows * features**2)
    assert entry.after.flops == pytest.approx(
        entry.before.flops + per_step / 128
    )


def test_operations_of_whitened_channels():
    """Single positions are sampled: there is no kernel to space them by."""
    inputs = keras.Input((9, 9, 4))
    layer = ChannelDeconv(num_iterations=2, update_every=1)
    (entry,) = plan(keras.Model(inputs, layer(inputs))).entries
    features, rows = 4, 3 * 3
    assert entry.after.flops == pytest.approx(
        2 * rows * features**2 + 3 * 2 * features**3 / 128
    )


def test_plain_data_and_table():
    found = plan(mixed(), exclude="gate", block_size=2)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["model"] == "mixed"
    (gate,) = [la for la in data["layers"] if la["path"] == "gate"]
    assert (gate["action"], gate["reason"]) == ("leave", "not selected")
    assert gate["before"] == gate["after"]
    shown = str(found)
    for text in ("4 deconvolve", "1 leave", "2 remove", "(not selected)"):
        assert text in shown


def test_table_has_settings_once_and_what_differs_by_layer():
    rules = [("gate", {"num_iterations": 7, "epsilon": 0.5})]
    lines = str(plan(mixed(), preset="paper", rules=rules)).splitlines()
    (row,) = [line for line in lines if "gate" in line]
    assert "num_iterations=7," in row
    assert "block_size" not in row
    (caption,) = [line for line in lines if "Settings: " in line]
    assert "block_size=64" in caption
    assert "num_iterations=5" in caption
    assert "Settings: " not in str(plan(mixed()))


def test_numbers_of_numpy_are_plain_data():
    settings = {"block_size": np.int64(2), "epsilon": np.float32(0.5)}
    data = json.dumps(plan(mixed(), **settings).to_dict())
    assert '"block_size": 2' in data
    assert '"epsilon": 0.5' in data


def test_names_with_brackets_are_shown():
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Conv2D(2, 3, name="conv[red]")(inputs)
    shown = str(plan(keras.Model(inputs, outputs, name="net[1]")))
    assert "net[1]: 1 deconvolve" in shown
    assert "conv[red]" in shown


def test_layers_that_are_left_may_return_several_tensors():
    inputs = keras.Input((8, 8, 4))
    pair = layers.Lambda(lambda x: {"a": x[..., :2], "b": x[..., 2:]})(inputs)
    x = layers.Conv2D(2, 3)(pair["a"])
    found = plan(keras.Model(inputs, [x, pair["b"]]))
    assert [entry.action for entry in found.entries] == ["leave", "deconvolve"]


def test_reasons():
    class Mine(layers.Conv2D):
        pass

    inputs = keras.Input((8, 8, 3))
    x = Mine(2, 3, name="mine")(inputs)
    x = BATCH_NORM(name="norm")(x)
    x = layers.Lambda(lambda x: x, name="code")(x)
    x = layers.EinsumDense("bhwc,cd->bhwd", (6, 6, 2), name="volume")(x)
    x = layers.LayerNormalization(name="look_alike")(x)
    x = layers.Dense(2, name="adapted")(layers.Flatten()(x))
    model = keras.Model(inputs, x)
    model.get_layer("adapted").enable_lora(1)
    found = plan(model)
    assert {entry.path: entry.reason for entry in found.entries} == {
        "mine": "a subclass of Conv2D may compute otherwise",
        "norm": "mine is left as it is",
        "code": "its code cannot be entered",
        "volume": "has no deconvolved twin",
        "adapted": "it is LoRA-enabled (rank 1)",
    }
    assert not found.converts


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"include": "other"}, ValueError, "must be that of a layer.*other"),
        ({"exclude": ["stem", "nor"]}, ValueError, "'nor'; there are"),
        ({"include": 3}, TypeError, "A selector must be.*Received: 3"),
        ({"rules": "mine"}, ValueError, "`rules` must be one of"),
        ({"rules": ["stem"]}, ValueError, "A rule must be a pair.*'stem'"),
        ({"rules": [("stem", 5)]}, ValueError, r"a dict or None.*'stem', 5"),
        ({"rules": [("stem", {"x": 3})]}, TypeError, r"Received: \['x'\]"),
        (
            {"rules": "paper", "method": "minimax"},
            ValueError,
            "'paper'` sets `num_iterations`.*'minimax'` stands for five",
        ),
        ({"batch_norm": "drop"}, ValueError, "`batch_norm` must be.*'drop'"),
        ({"preset": "quick"}, ValueError, "`preset` must be.*'quick'"),
        (
            {"batch_norm": "remove", "calibration_data": []},
            ValueError,
            "must be 'fold' or 'keep'",
        ),
        ({"block_size": 0}, ValueError, "`block_size` must be"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        plan(mixed(), **arguments)


@pytest.mark.parametrize("rules", ["stem", "paper"])
def test_first_convolution_alone_is_the_first(rules):
    # The path of the first is the name of another one.
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 3, name="conv")],
        name="inner",
    )
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 1, name="conv"), inner]
    )
    first, second = plan(model, rules=rules).entries
    assert (first.path, second.path) == ("conv", "inner/conv")
    if rules == "stem":
        assert (first.action, second.action) == ("deconvolve", "leave")
    else:
        assert first.settings["freeze_after"] == 200
        assert "freeze_after" not in second.settings


def test_a_layer_selects_itself_and_what_is_in_it():
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(4, 3, name="conv")],
        name="inner",
    )
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 1)])
    model.add(inner)
    first, second = plan(
        model,
        exclude=inner,
        rules=[(model.layers[0], {"num_iterations": 7})],
    ).entries
    assert first.settings["num_iterations"] == 7
    assert second.reason == "not selected"
    with pytest.raises(ValueError, match="one of the model, not of a copy"):
        plan(model, include=[layers.Dense(2, name="other")])

"""Weights of a layer with another schedule load, or are refused."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

import family

# Which weights a schedule adds to the moving averages.
SCHEDULES = {
    "every step": {},
    "until frozen": {"freeze_after": 9},
    "every second": {"update_every": 2},
    # Of a separable layer, the halves have different ones.
    "where cheap, every step": {"update_every": None},
}
# With one and with two sets of statistics, and without a kernel.
LAYERS = ("dense", "separable1d", "channel")
each_layer = pytest.mark.parametrize("name", LAYERS)


def make(name, **settings):
    member = family.MEMBERS[name]
    layer = member(**settings)
    layer.build(member.shape)
    return layer


def trained(name, **settings):
    """Returns a layer whose weights are all different."""
    layer = make(name, **settings)
    for number, weight in enumerate(layer.weights):
        weight.assign(np.full(weight.shape, number + 3))
    return layer


def stored(layer):
    store = {}
    layer.save_own_variables(store)
    return {
        key: np.array(ops.convert_to_numpy(value))
        for key, value in store.items()
    }


def by_name(layer):
    return {
        weight.name: np.array(ops.convert_to_numpy(weight))
        for weight in layer.weights
    }


def warns_if(condition):
    if condition:
        return pytest.warns(UserWarning, match="start with a warm-up")
    return contextlib.nullcontext()


@each_layer
@pytest.mark.parametrize("new", SCHEDULES)
@pytest.mark.parametrize("old", SCHEDULES)
def test_schedules_load_each_other(name, old, new):
    source = trained(name, **SCHEDULES[old])
    layer = make(name, **SCHEDULES[new])
    given = by_name(source)
    steps = {weight for weight in by_name(layer) if weight.endswith("step")}
    with warns_if(not steps <= given.keys()):
        layer.load_own_variables(stored(source))
    for weight, value in by_name(layer).items():
        if weight in given:
            expected = given[weight]
        elif weight.endswith(("step", "_variance")):
            expected = 0
        else:
            expected = given[weight.replace("batch", "moving")]
        np.testing.assert_array_equal(value, expected, err_msg=weight)


def test_layer_goes_on_with_the_steps_of_the_file(rng):
    """The warm-up of the file is over: D is stale once it is known."""
    settings = {"update_every": 5, "warmup_steps": 0}
    source = make("dense", freeze_after=99)
    layer = make("dense", **settings)
    inputs = rng.normal(size=(8, 4)).astype("float32")
    for _ in range(2):
        source(inputs, training=True)
    layer.load_own_variables(stored(source))
    given = by_name(layer)
    layer(2 * inputs, training=True)
    before = by_name(layer)
    layer(3 * inputs, training=True)
    after = by_name(layer)
    assert np.any(before["batch_deconv"] != given["moving_deconv"])
    np.testing.assert_array_equal(after["batch_deconv"], before["batch_deconv"])
    assert after["step"] == 4


@each_layer
@pytest.mark.parametrize("with_mean", [False, True])
def test_earlier_files_load_and_the_next_step_computes_d(name, with_mean):
    """They keep no variance, and the oldest ones the last mean."""
    source = trained(name, update_every=2)
    values = {}
    for number, weight in enumerate(source.weights):
        if weight.name.endswith("batch_deconv") and with_mean:
            values[f"mean {number}"] = np.zeros(weight.shape[:2])
        if not weight.name.endswith("_variance"):
            values[weight.name] = ops.convert_to_numpy(weight)
    layer = make(name, update_every=2)
    layer.load_own_variables(
        {f"{number}": value for number, value in enumerate(values.values())}
    )
    for weight, value in by_name(layer).items():
        np.testing.assert_array_equal(value, values.get(weight, 0))


@each_layer
def test_missing_weights_are_refused(name):
    store = stored(trained(name))
    layer = make(name)
    count = len(layer.weights)
    del store[f"{count - 1}"]
    before = by_name(layer)
    with pytest.raises(ValueError, match=f"expected {count} var"):
        layer.load_own_variables(store)
    np.testing.assert_equal(by_name(layer), before)


@each_layer
def test_other_shapes_are_refused_and_nothing_has_changed(name):
    store = stored(trained(name, block_size=3))
    layer = make(name, block_size=2)
    before = by_name(layer)
    with pytest.raises(
        ValueError, match=r"'\w*moving_mean' of layer.*Received: .*shape \("
    ):
        layer.load_own_variables(store)
    np.testing.assert_equal(by_name(layer), before)


@pytest.mark.parametrize("layout", ["interleaved", "contiguous"])
def test_blocks_of_another_layout_are_refused(layout, tmp_path):
    def network(**settings):
        layer = family.MEMBERS["conv2d"](**settings)
        return keras.Sequential([keras.Input((6, 6, 4)), layer])

    path = tmp_path / "first.weights.h5"
    network(block_size=2, block_layout=layout).save_weights(path)
    (other,) = {"interleaved", "contiguous"} - {layout}
    second = network(block_size=2, block_layout=other)
    before = by_name(second)
    with pytest.raises(ValueError, match=f"'{other}'.*with .*'{layout}'"):
        second.load_weights(path)
    np.testing.assert_equal(by_name(second), before)
    network(block_size=2, block_layout=layout).load_weights(path)


def test_one_block_has_no_layout():
    store = stored(trained("dense", block_size=99))
    assert "block_layout" not in store
    assert "block_layout" in stored(trained("dense", block_size=2))


def test_layer_that_is_not_built_is_named():
    layer = family.MEMBERS["dense"](name="unbuilt")
    with pytest.raises(ValueError, match="unbuilt"):
        layer.load_own_variables({"0": np.zeros(1)})


def test_model_goes_on_with_another_schedule(tmp_path, rng):
    def network(**settings):
        model = keras.Sequential(
            [keras.Input((4,)), family.MEMBERS["dense"](**settings)]
        )
        model.compile("sgd", "mse")
        return model

    inputs, targets = rng.normal(size=(8, 4)), rng.normal(size=(8, 4))
    first, second = network(), network(update_every=4, warmup_steps=2)
    first.fit(inputs, targets, batch_size=4, verbose=0)
    first.save_weights(tmp_path / "first.weights.h5")
    with pytest.warns(UserWarning, match="start with a warm-up"):
        second.load_weights(tmp_path / "first.weights.h5")
    np.testing.assert_array_equal(
        second.predict(inputs, verbose=0), first.predict(inputs, verbose=0)
    )
    second.fit(inputs, targets, batch_size=4, verbose=0)
    assert np.isfinite(second.predict(inputs, verbose=0)).all()

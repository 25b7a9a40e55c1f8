"""Random arguments give a layer that works, or an error that says why."""

import inspect
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

import family

BACKEND = keras.backend.backend()
SMALL = st.integers(1, 3)
NUMBERS = st.integers() | st.floats() | st.booleans()
JUNK = st.one_of(
    st.none(),
    NUMBERS,
    st.complex_numbers(),
    st.text(max_size=3),
    st.binary(max_size=2),
    st.lists(st.integers(0, 3), max_size=2),
    st.builds(dict),
    st.builds(object),
    st.integers(-3, 3).map(np.int64),
    st.floats(-1, 1, width=32).map(np.float32),
    st.sampled_from([np.True_, np.zeros(2), np.array("eigh"), np.str_("eigh")]),
    st.sampled_from([2**31 - 1, 2**31, 10**400, 1e-46, 1e39]),
)
# Newton-Schulz steps are written out: a billion of them takes its time.
FEW_STEPS = st.integers(-1, 9) | JUNK.filter(
    lambda value: not isinstance(value, int) or value < 9
)
SETTINGS = {
    "block_layout": st.sampled_from(["interleaved", "contiguous"]),
    "block_size": st.integers(1, 8),
    "data_format": st.sampled_from([None, "channels_first", "channels_last"]),
    "differentiate": st.booleans(),
    "epsilon": st.floats(1e-38, 1e6),
    "freeze_after": st.none() | SMALL,
    "method": st.sampled_from(["newton_schulz", "minimax", "eigh"]),
    "momentum": st.floats(0, 1),
    "num_iterations": st.integers(1, 5),
    "sampling_stride": st.integers(1, 9),
    "share_blocks": st.booleans(),
    "synchronized": st.booleans(),
    "update_every": st.none() | st.integers(1, 2**31),
    "warmup_steps": st.integers(0, 2**31),
}
# Some of these go together and others do not; tuples may have a wrong length.
SIZES = SMALL | st.lists(SMALL, min_size=1, max_size=3).map(tuple)
ARGUMENTS = {
    "filters": st.integers(0, 6),
    "units": st.integers(0, 6),
    "kernel_size": SIZES | st.integers(-1, 0),
    "strides": st.integers(0, 3),
    "padding": st.sampled_from(["valid", "same", "causal", "SAME", "full"]),
    "dilation_rate": st.integers(0, 2),
    "groups": st.integers(0, 3),
    "depth_multiplier": st.integers(0, 3),
    "use_bias": st.booleans(),
}
REQUIRED = {"filters", "units", "kernel_size"}

each_layer = pytest.mark.parametrize("name", family.MEMBERS)


def arguments_of(member):
    """Returns a strategy for each argument of a layer that is fuzzed."""
    known = ARGUMENTS if member.is_drop_in else {}
    names = inspect.signature(member.plain).parameters.keys() & known.keys()
    return {name: ARGUMENTS[name] for name in sorted(names)} | {
        name: SETTINGS[name] for name in sorted(member.settings)
    }


@st.composite
def some_arguments(draw, member):
    """Returns arguments that may be at odds with each other."""
    return {
        name: draw(strategy)
        for name, strategy in arguments_of(member).items()
        if name in REQUIRED or draw(st.integers(0, 2)) == 0
    }


@st.composite
def some_inputs(draw, member):
    """Returns a batch, now and then of constants or of a wrong rank."""
    rank = len(member.shape)
    if draw(st.integers(0, 9)) == 9:
        rank = draw(st.integers(1, 6))
    shape = [draw(st.integers(1, 6)) for _ in range(rank)]
    scale = draw(st.sampled_from([0.0, 1e-3, 1.0, 1e3]))
    return scale * family.make_inputs(shape) if rank > 1 else np.ones(shape)


@each_layer
@given(data=st.data())
def test_any_value_of_a_setting_is_taken_or_refused(name, data):
    member = family.MEMBERS[name]
    setting = data.draw(st.sampled_from(sorted(member.settings)))
    value = data.draw(FEW_STEPS if setting == "num_iterations" else JUNK)
    try:
        layer = member.cls(*member.arguments, **{setting: value})
    except ValueError as error:
        refusal = str(error)
    else:
        config = layer.get_config()
        assert member.cls.from_config(config).get_config() == config
        keras.saving.serialize_keras_object(layer)
        return
    assert f"`{setting}` must be" in refusal
    assert "Received: " in refusal


@each_layer
@given(data=st.data())
def test_random_layer_works_or_says_why_not(name, data):
    member = family.MEMBERS[name]
    arguments = data.draw(some_arguments(member))
    inputs = data.draw(some_inputs(member))
    try:
        layer = member.cls(**arguments)
        config = layer.get_config()
        assert member.cls.from_config(config).get_config() == config
        layer.build(inputs.shape)
    except ValueError as error:
        refusal = str(error)
    else:
        # JAX compiles every operation for every shape, which takes seconds.
        if BACKEND != "jax":
            check_outputs(layer, inputs)
        return
    assert "eceived" in refusal


def check_outputs(layer, inputs):
    with warnings.catch_warnings():
        # Statistics of hardly any samples may well have no variance.
        warnings.simplefilter("ignore")
        found = [layer(inputs, training=True), layer(inputs)]
        # TensorFlow has no convolution on the CPU with the channels first.
        if BACKEND != "tensorflow" or not layer._channels_first:
            found.append(layer.fold()(inputs))
    expected = layer.compute_output_shape(inputs.shape)
    for each in found:
        assert tuple(each.shape) == tuple(expected)
        assert np.isfinite(ops.convert_to_numpy(each)).all()


@each_layer
def test_unknown_argument_is_named(name):
    member = family.MEMBERS[name]
    with pytest.raises((TypeError, ValueError), match="block_sizes"):
        member.cls(*member.arguments, block_sizes=3)

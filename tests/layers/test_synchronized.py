"""Synchronized layers where there is one device.

Where there are more, see `tests/distributed`.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_deconv
from keras_deconv import SmallBatchWarning
from keras_deconv.layers import _moments


def train(inputs, **settings):
    """Returns outputs and weights of two steps."""
    keras.utils.set_random_seed(0)
    layer = keras_deconv.DeconvDense(2, **settings)
    outputs = [layer(inputs, training=True) for _ in range(2)]
    return [ops.convert_to_numpy(x) for x in (*outputs, *layer.weights)]


@pytest.mark.parametrize("update_every", [1, 2])
def test_one_device_is_not_affected(update_every, correlated):
    inputs = correlated(16, 3)
    settings = {"update_every": update_every, "warmup_steps": 0}
    for mine, other in zip(
        train(inputs, **settings, synchronized=True),
        train(inputs, **settings),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, other)


def test_files_from_before_are_not_synchronized():
    config = keras_deconv.DeconvDense(2, synchronized=True).get_config()
    assert config.pop("synchronized") is True
    assert keras_deconv.DeconvDense.from_config(config).synchronized is False


def test_flag_is_checked():
    with pytest.raises(ValueError, match=r"`synchronized` must be True or"):
        keras_deconv.DeconvDense(2, synchronized="yes")


@pytest.mark.parametrize(("replicas", "is_small"), [(2, True), (4, False)])
def test_samples_of_all_replicas_count(replicas, is_small, monkeypatch):
    """One sample a replica, of 32 features."""
    monkeypatch.setattr(SmallBatchWarning, "was_given", False)
    monkeypatch.setattr(_moments, "replica", lambda: (0, replicas))
    monkeypatch.setattr(
        _moments.Shares, "sum_where", lambda shares, is_due, make, _: make()
    )
    layer = keras_deconv.DeconvDense(
        2, block_size=32, update_every=1, synchronized=True
    )
    layer(np.ones((1, 32), "float32"), training=True)
    assert SmallBatchWarning.was_given is is_small


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="elsewhere, shares have a known size",
)
@pytest.mark.parametrize("update_every", [1, 3])
def test_share_without_samples_counts_as_none(update_every, monkeypatch):
    import tensorflow as tf

    vectors = []
    monkeypatch.setattr(_moments, "replica", lambda: (0, 2))
    monkeypatch.setattr(
        _moments.Shares,
        "sum_where",
        lambda shares, is_due, make, means: vectors.append(make()) or make(),
    )
    layer = keras_deconv.DeconvDense(
        2, update_every=update_every, synchronized=True
    )
    layer.build((None, 3))

    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def vector(inputs):
        vectors.clear()
        layer(inputs, training=True)
        return vectors[0]

    assert not np.any(vector(np.zeros((0, 3), "float32")))
    found = vector(np.ones((4, 3), "float32"))
    np.testing.assert_array_equal(found[:4], [4, 1, 1, 1])


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="about JAX")
@pytest.mark.parametrize(
    "settings",
    [{"update_every": 3}, {"update_every": 1, "freeze_after": 2}],
    ids=["period", "freezing"],
)
def test_schedule_in_a_mapped_function(settings, correlated):
    """JAX knows which tensors vary over devices; branches must agree."""
    import jax
    from jax.sharding import PartitionSpec

    layer = keras_deconv.DeconvDense(2, warmup_steps=1, **settings)
    layer.build((None, 3))
    weights = [each.value for each in layer.trainable_variables]

    def step(state, inputs):
        outputs, state = layer.stateless_call(
            weights, state, inputs, training=True
        )
        return outputs, [each[None] for each in state]

    data, whole = PartitionSpec("data"), PartitionSpec()
    mapped = jax.shard_map(
        step,
        mesh=jax.sharding.Mesh(jax.devices()[:1], ("data",)),
        in_specs=(whole, data),
        out_specs=data,
    )
    state = [each.value for each in layer.non_trainable_variables]
    for _ in range(3):
        inputs = correlated(6, 3)
        expected, _ = step(state, inputs)
        found, state = jax.jit(mapped)(state, inputs)
        state = [each[0] for each in state]
        np.testing.assert_allclose(found, expected, atol=1e-6)

"""Masked samples: statistics are those of a batch that lacks them."""

import importlib

import keras
import numpy as np
import pytest
from keras import ops

import compare
import gradients
import keras_deconv
from keras_deconv import ChannelDeconv
from keras_deconv import DeconvDense

CHANNELS = 6
# A layer that sees every position, and the leading axes of its inputs.
CASES = {
    "dense": (lambda: DeconvDense(3, update_every=1), (5, 8)),
    "schedule": (
        lambda: DeconvDense(3, update_every=2, warmup_steps=0),
        (4, 3, 3),
    ),
    "few_rows": (lambda: DeconvDense(3, block_size=CHANNELS), (3,)),
    "channels": (
        lambda: ChannelDeconv(block_size=4, sampling_stride=1),
        (5, 8),
    ),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request, correlated, rng):
    """A layer, its twin, inputs, a mask, and the rows that it keeps."""
    make, leading = request.param
    inputs = correlated(*leading, CHANNELS)
    mask = rng.random(leading) < 0.6
    mask.flat[0], mask.flat[-1] = True, False
    layer, twin = make(), make()
    for each in (layer, twin):
        each.build(inputs.shape)
    for weight, other in zip(twin.weights, layer.weights, strict=True):
        weight.assign(ops.convert_to_numpy(other))
    return layer, twin, inputs, mask, inputs[mask]


def assert_same_statistics(layer, twin):
    for mine, other in zip(
        layer.non_trainable_weights, twin.non_trainable_weights, strict=True
    ):
        compare.assert_close(mine, other)


def test_statistics_and_outputs_are_those_of_what_is_kept(case):
    layer, twin, inputs, mask, rows = case
    inputs = inputs.copy()
    inputs[~mask] = np.inf
    for step in range(2):
        inputs[mask], wanted = rows + step, twin(rows + step, training=True)
        outputs = layer(inputs, training=True, mask=mask)
        outputs = ops.convert_to_numpy(outputs)[mask]
        compare.assert_close(outputs, wanted)
        assert_same_statistics(layer, twin)


def test_gradients_are_those_of_what_is_kept(case, rng):
    layer, twin, inputs, mask, rows = case
    upstream = rng.normal(size=(*rows.shape[:-1], 3)).astype("float32")
    if isinstance(layer, ChannelDeconv):
        upstream = rng.normal(size=rows.shape).astype("float32")
    wanted = gradients.gradient(
        lambda given: twin(given, training=True), rows, upstream
    )
    everywhere = np.zeros((*mask.shape, upstream.shape[-1]), "float32")
    everywhere[mask] = upstream
    found = gradients.gradient(
        lambda given: layer(given, training=True, mask=mask),
        inputs,
        everywhere,
    )
    found = ops.convert_to_numpy(found)
    compare.assert_close(found[mask], wanted, 1e-4)
    assert np.all(found[~mask] == 0)


def test_every_position_that_is_kept_counts(correlated, rng):
    inputs, mask = correlated(4, 9, 5), rng.random((4, 9)) < 0.6
    settings = {"block_size": 2, "momentum": 0.0}
    layer, twin = ChannelDeconv(**settings), ChannelDeconv(**settings)
    layer(inputs, training=True, mask=mask)
    twin(inputs[mask], training=True)
    assert_same_statistics(layer, twin)


def test_a_mask_may_lack_later_axes(correlated):
    inputs, mask = correlated(4, 3, 5), np.array([True, False, True, True])
    layer, twin = (DeconvDense(2, momentum=0.0) for _ in range(2))
    layer(inputs, training=True, mask=mask)
    twin(inputs[mask], training=True)
    compare.assert_close(layer.moving_mean, twin.moving_mean)


def test_keras_hands_the_mask_on():
    """What a padding token is embedded as makes no difference."""
    tokens = np.array([[1, 2, 3, 0, 0], [3, 2, 0, 0, 0], [2, 1, 1, 3, 0]])
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(4, 3, mask_zero=True),
            DeconvDense(4, update_every=1, bias_initializer="ones"),
            ChannelDeconv(sampling_stride=1, update_every=1),
        ]
    )
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    embeddings = ops.convert_to_numpy(model.layers[0].embeddings).copy()
    embeddings[0] += 100.0
    twin.layers[0].embeddings.assign(embeddings)
    for each in (model, twin):
        each.compile(keras.optimizers.SGD(0.0), "mean_squared_error")
        each.fit(tokens, np.ones((3, 5, 4)), batch_size=3, verbose=0)
    for layer, other in zip(model.layers[1:], twin.layers[1:], strict=True):
        assert np.abs(ops.convert_to_numpy(layer.moving_mean)).max() > 0
        assert_same_statistics(layer, other)


def test_recalibration_leaves_masked_steps_out(correlated):
    """`recalibrate` runs on what layers are given, the mask included."""
    inputs = correlated(6, 5, 3)
    inputs[:, 3:] = -1.0
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            keras.layers.Masking(-1.0),
            DeconvDense(2, name="dense"),
        ]
    )
    recalibrated = keras_deconv.recalibrate(model, [inputs])
    mean = inputs[:, :3].reshape(-1, 3).mean(axis=0, keepdims=True)
    compare.assert_close(recalibrated.get_layer("dense").moving_mean, mean)


@pytest.mark.parametrize("make", [lambda: DeconvDense(2), ChannelDeconv])
def test_a_batch_without_samples_stays_finite(make, correlated):
    layer = make()
    inputs = correlated(4, 6, 3)
    outputs = layer(inputs, training=True, mask=np.zeros((4, 6), bool))
    for values in (outputs, *layer.weights):
        assert np.isfinite(ops.convert_to_numpy(values)).all()


@pytest.mark.parametrize("make", [lambda: DeconvDense(2), ChannelDeconv])
@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 5), (3,)])
def test_other_axes_are_refused(make, shape):
    with pytest.raises(ValueError, match=r"must have the first axes of the"):
        make()(np.ones((4, 6, 3), "float32"), mask=np.ones(shape, bool))


@pytest.mark.parametrize(
    ("make", "module"), [(DeconvDense, "_dense"), (ChannelDeconv, "_channel")]
)
def test_masks_are_looked_at_in_training_alone(make, module, monkeypatch):
    """Replicas would talk to each other in inference."""
    seen = []
    module = importlib.import_module(f"keras_deconv.layers.{module}")
    leave_out = module.leave_out
    monkeypatch.setattr(
        module, "leave_out", lambda *args: seen.append(1) or leave_out(*args)
    )
    layer = make(2) if make is DeconvDense else make()
    inputs, mask = np.ones((4, 6, 3), "float32"), np.ones((4, 6), "bool")
    layer(inputs, mask=mask)
    layer.trainable = False
    layer(inputs, training=True, mask=mask)
    assert not seen
    layer.trainable = True
    layer(inputs, training=True, mask=mask)
    assert seen


def test_positions_between_sampled_ones_count_where_they_are_kept(rng):
    inputs = rng.normal(5, 2, size=(32, 12, 4)).astype("float32")
    mask = np.zeros((32, 12), bool)
    mask[:, 10:] = True
    layer = ChannelDeconv(epsilon=1e-5)  # Samples positions 0, 3, 6, 9.
    outputs = ops.convert_to_numpy(layer(inputs, training=True, mask=mask))
    assert abs(outputs[mask].mean()) < 1e-2
    assert 0.7 < outputs[mask].std() < 1.1


def test_recalibration_counts_what_is_kept(rng):
    model = keras.Sequential(
        [keras.Input((10, 3)), keras.layers.Masking(), DeconvDense(2)]
    )
    few, many = rng.normal(size=(2, 8, 10, 3)).astype("float32")
    few[:, 1:] = 0
    few[:, 0] += 3
    batches = [few, many, np.zeros_like(few[:1])]
    with pytest.warns(UserWarning, match="Received: 1 of them"):
        apart = keras_deconv.recalibrate(model, batches)
    rows = np.concatenate([few[:, 0], many.reshape(-1, 3)])
    compare.assert_close(apart.layers[-1].moving_mean[0], rows.mean(0))

"""When a layer computes D, and what it uses in between."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import compare
import gradients
import keras_deconv
import oracle
import products
from authors import ChannelDeconv
from authors import DeconvConv2D
from authors import DeconvDense
from authors import DeconvSeparableConv2D

ON_JAX = keras.backend.backend() == "jax"
MOMENTUM, EPSILON = 0.8, 1e-2
# Every third step is 0, 1, 3 and 6 with this warm-up, 0, 3 and 6 without.
CASES = {
    "every_third": {"update_every": 3, "warmup_steps": 2},
    "no_warmup": {"update_every": 3, "warmup_steps": 0},
    "freeze": {"freeze_after": 4},
    "every_third_then_freeze": {
        "update_every": 3,
        "warmup_steps": 2,
        "freeze_after": 5,
    },
}
each_case = pytest.mark.parametrize(
    "settings", CASES.values(), ids=CASES.keys()
)


@pytest.fixture
def batches(correlated):
    """Eight batches, of a scale that grows."""
    scales = np.linspace(1, 2, 8, dtype="float32")
    return correlated(8 * 16, 3).reshape(8, 16, 3) * scales[:, None, None]


def make(**settings):
    settings = {"momentum": MOMENTUM, "epsilon": EPSILON} | settings
    layer = DeconvDense(2, bias_initializer="ones", name="deconv", **settings)
    layer.build((16, 3))
    return layer


def to_numpy(values):
    return [np.asarray(ops.convert_to_numpy(value)) for value in values]


def expected(layer, batches):
    """Yields outputs and state of each step, in float64.

    The state: averages, last D and its variance. Written out from the
    description of the settings, for fixed weights.
    """
    kernel, bias = to_numpy((layer.kernel, layer.bias))
    period, freeze_after = layer.update_every, layer.freeze_after
    warmup = layer.warmup_steps if period > 1 else len(batches)
    moving_mean, moving = np.zeros((1, 3)), np.eye(3)[None]
    last, last_variance, moving_variance = moving, np.zeros(1), np.ones(1)
    for step, batch in enumerate(batches.astype("float64")):
        mean, deconv = oracle.statistics(batch, 1, "contiguous", 5, EPSILON)
        variance = np.array([batch.var(axis=0).mean() + EPSILON])
        if freeze_after is not None and step >= freeze_after:
            mean, used = moving_mean, moving
        else:
            is_new = step < warmup or step % period == 0
            if is_new:
                last, last_variance = deconv, variance
            used = last * np.sqrt(last_variance / variance)
            if period > 1:
                # The average of D times its standard deviation, over the root
                # of the mean variance; a D counts for as many steps as it
                # stands for.
                unscaled = moving * np.sqrt(moving_variance)
                for _ in range(is_new * (1 if step < warmup else period)):
                    unscaled = average(unscaled, deconv * np.sqrt(variance))
                moving_variance = average(moving_variance, variance)
                moving = unscaled / np.sqrt(moving_variance)
            else:
                moving = average(moving, used)
            moving_mean = average(moving_mean, mean)
        outputs = (batch - mean[0]) @ used[0] @ kernel + bias
        variances = last_variance, moving_variance
        yield outputs, moving_mean, moving, last, *variances


def average(old, new):
    return MOMENTUM * old + (1 - MOMENTUM) * new


def assert_state(layer, step, moving_mean, moving, *rest):
    expected = {"moving_mean": moving_mean, "moving_deconv": moving}
    if layer.update_every > 1:
        expected |= dict(zip(LAST, rest, strict=True))
    weights = {weight.name: weight for weight in layer.weights}
    for name, value in expected.items():
        compare.assert_close(weights[name], value)
    assert int(weights["step"]) == step


@each_case
def test_eager_steps(settings, batches):
    if ON_JAX:
        # Compiles both branches anew on every call. Four steps see both.
        batches = batches[:4]
    layer = make(**settings)
    for step, (outputs, *state) in enumerate(expected(layer, batches), 1):
        compare.assert_close(layer(batches[step - 1], training=True), outputs)
        assert_state(layer, step, *state)


class Losses(keras.callbacks.Callback):
    """The loss of each step: Keras hands out their running mean."""

    def __init__(self):
        super().__init__()
        self.sums = [0.0]

    def on_train_batch_end(self, batch, logs=None):
        self.sums.append(float(logs["loss"]) * (batch + 1))

    @property
    def values(self):
        return np.diff(self.sums)


@each_case
def test_compiled_steps(settings, batches):
    """Losses tell the outputs of each step, weights the state at the end."""
    layer, losses = make(**settings), Losses()
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(0.0), loss="mse")
    wanted = list(expected(layer, batches))
    model.fit(
        batches.reshape(-1, 3),
        np.zeros((8 * 16, 2)),
        batch_size=16,
        shuffle=False,
        verbose=0,
        callbacks=[losses],
    )
    compare.assert_close(
        losses.values, [np.mean(outputs**2) for outputs, *_ in wanted]
    )
    assert_state(layer, 8, *wanted[-1][1:])


def test_counter_is_saved(batches, tmp_path):
    """Loading in the middle of a period is as if training had gone on."""
    model = keras.Sequential([keras.Input((3,)), make(**CASES["every_third"])])
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    zeros = np.zeros((16, 2))
    for batch in batches[:5]:
        model.train_on_batch(batch, zeros)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for batch in batches[5:7]:
        model.train_on_batch(batch, zeros)
        loaded.train_on_batch(batch, zeros)
    assert int(loaded.layers[0].weights[-1]) == 7
    for mine, other in zip(
        to_numpy(loaded.weights), to_numpy(model.weights), strict=True
    ):
        np.testing.assert_array_equal(mine, other)


def test_weights_from_elsewhere_are_noticed(batches):
    """PyTorch reads no step that it has written itself."""
    layer = make(update_every=3, warmup_steps=0)
    start = [np.array(value) for value in to_numpy(layer.weights)]
    first = ops.convert_to_numpy(layer(batches[0], training=True))
    for batch in batches[1:3]:
        layer(batch, training=True)
    layer.set_weights(start)
    again = layer(batches[0], training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(again), first)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="others do not wait"
)
def test_steps_are_read_once_in_a_period(batches):
    layer = make(update_every=3, warmup_steps=0)
    inputs = ops.convert_to_tensor(batches[0])

    def reads():
        with products.dispatched("_local_scalar_dense") as read:
            layer(inputs, training=True)
        return read.count

    # D is due on steps 0 and 3; what came of it is read on the next ones.
    assert [reads() for _ in range(5)] == [2, 2, 0, 0, 2]


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="about torch.compile"
)
@pytest.mark.filterwarnings("ignore")  # Of PyTorch's, about itself.
def test_compiled_by_torch_it_is_the_same(correlated):
    """The schedule too, and with settings that differ from layer to layer."""
    import torch

    def make():
        settings = {
            "bias_initializer": "ones",
            "update_every": 2,
            "warmup_steps": 0,
        }
        return keras.Sequential(
            [
                keras.Input((6, 6, 3)),
                DeconvConv2D(2, 3, **settings),
                DeconvConv2D(2, 3, num_iterations=3, **settings),
                keras.layers.Flatten(),
                DeconvDense(3, **settings),
            ]
        )

    model, other = make(), make()
    other.set_weights(model.get_weights())
    step = torch.compile(
        lambda inputs: model(inputs, training=True),
        backend="eager",
        dynamic=True,
    )
    for _ in range(3):
        batch = correlated(4, 6, 6, 3)
        compare.assert_close(
            step(torch.tensor(batch)), other(batch, training=True)
        )
    for mine, wanted in zip(model.weights, other.weights, strict=True):
        compare.assert_close(mine, wanted)


MOVING = ["moving_mean", "moving_deconv"]
LAST = ["batch_deconv", "batch_variance", "moving_variance"]


def with_prefix(prefix, names):
    return [prefix + name for name in names]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, MOVING),
        ({"warmup_steps": 5, "differentiate": False}, MOVING),
        (
            {"update_every": 2},
            [*MOVING, *LAST, "step"],
        ),
        ({"freeze_after": 2}, [*MOVING, "step"]),
    ],
)
def test_weights(settings, names):
    layer = DeconvConv2D(2, 3, **settings)
    layer.build((None, 5, 5, 3))
    assert [w.name for w in layer.non_trainable_weights] == names
    for second, layer in (
        ("pointwise_", DeconvSeparableConv2D(2, 3, **settings)),
        ("rest_", ChannelDeconv(block_size=2, **settings)),
    ):
        layer.build((None, 5, 5, 3))
        assert [w.name for w in layer.non_trainable_weights] == [
            *names,
            *with_prefix(second, names),
        ]


def test_moving_d_suits_batches_of_very_different_scale(correlated):
    """An average of D would be that of the small ones, 50 times too large."""
    layer = make(update_every=2, warmup_steps=99, epsilon=1e-8)
    batch = correlated(64, 3)
    for scale in [1, 0.01] * 8:
        layer(batch * np.float32(scale), training=True)
    (deconv,) = to_numpy([layer.moving_deconv])
    _, wanted = oracle.statistics(batch, 1, "contiguous", 5, 1e-8)
    ratio = np.linalg.norm(deconv) / np.linalg.norm(wanted)
    assert 1 < ratio < 2


def test_a_d_that_is_always_new_is_averaged_at_unit_scale(batches):
    layer = keras_deconv.DeconvDense(2, momentum=MOMENTUM, epsilon=EPSILON)
    directions, deviation = np.eye(3), 1.0
    for batch in batches:
        layer(batch, training=True)
        _, (deconv,) = oracle.statistics(batch, 1, "contiguous", 5, EPSILON)
        scale = 3 / np.trace(deconv)
        directions = average(directions, deconv * scale)
        deviation = average(deviation, scale)
    compare.assert_close(layer.moving_deconv, (directions / deviation)[None])


@pytest.mark.parametrize("update_every", [None, 8])
@pytest.mark.parametrize("rows", [1, 2])
def test_averages_stand_a_batch_of_few_rows(update_every, rows, correlated):
    """Its D is up to 300 times that of others."""
    inputs = correlated(64 * 40 + rows, 8)
    layer = keras_deconv.DeconvDense(2, update_every=update_every)
    for start in range(0, len(inputs) - rows, 64):
        layer(inputs[start : start + 64], training=True)
    before = ops.copy(layer.moving_deconv)
    layer(inputs[-rows:], training=True)
    (step,) = to_numpy([layer.moving_deconv - before])
    assert np.abs(step).max() < 0.5 * np.abs(to_numpy([before])).max()


@pytest.mark.parametrize("update_every", [None, 8])
def test_averages_soon_suit_inputs_of_any_scale(update_every, correlated):
    layer = keras_deconv.DeconvDense(2, update_every=update_every)
    inputs = 100 * correlated(64, 8)
    for _ in range(10):
        trained = layer(inputs, training=True)
    given, wanted = to_numpy([layer(inputs), trained])
    spread = given.std(axis=0) / wanted.std(axis=0)
    assert 0.5 < spread.min() <= spread.max() < 4


@pytest.mark.parametrize(
    ("sampling_stride", "kept"),
    [
        # At most every third, while there are four.
        (None, (slice(None, None, 3), slice(None, None, 2))),
        (2, (slice(None, None, 2), slice(None, None, 2))),
        (1, (slice(None), slice(None))),
    ],
)
def test_variance_is_of_so_many_pixels(sampling_stride, kept, correlated):
    inputs = correlated(2, 14, 9, 3)
    layer = DeconvConv2D(
        2, 3, update_every=2, epsilon=EPSILON, sampling_stride=sampling_stride
    )
    layer(inputs, training=True)
    expected = inputs[:, *kept].var(axis=(0, 1, 2)).mean() + EPSILON
    (variance,) = (w for w in layer.weights if w.name == "batch_variance")
    compare.assert_close(variance, [expected])


@pytest.mark.parametrize("with_gradient", [False, True])
def test_a_step_that_is_not_due_computes_no_root(with_gradient, batches):
    def count(training, with_gradient=with_gradient, **settings):
        # A new layer each time: on PyTorch, counting takes two steps. So many
        # iterations are products on every backend.
        layer = make(num_iterations=9, **settings)
        return products.counts(layer, batches[0], training, with_gradient)

    inference, _ = count(False)
    every, _ = count(True)
    due, idle = count(True, update_every=2, warmup_steps=1)
    if keras.backend.backend() != "torch" and with_gradient:
        # The gradient computes D anew, but no product with it.
        forward, _ = count(True, with_gradient=False)
        folded, _ = count(False, with_gradient=False)
        # On TensorFlow from the covariance on, which takes one.
        due -= forward - folded - (not ON_JAX)
    # The gradient of the mean is a row times `D w`.
    assert (due, idle) == (every, inference + with_gradient)
    assert every > 4 * inference


def test_a_frozen_layer_computes_no_root(batches):
    inference, _ = products.counts(make(), batches[0], False)
    every, _ = products.counts(make(), batches[0], True)
    assert products.counts(make(freeze_after=1), batches[0], True) == (
        every,
        inference,
    )


class Centred(layers.Layer):
    """Subtracts the mean of the batch."""

    def call(self, inputs):
        return inputs - ops.mean(inputs, axis=0, keepdims=True)


def two_layers(*rest):
    """A model whose first layer learns through the others."""
    first = layers.Dense(3, use_bias=False, name="first")
    model = keras.Sequential([keras.Input((3,)), first, *rest])
    # With a rate of 1, one step makes the gradient of the mean zero.
    model.compile(keras.optimizers.SGD(0.5), loss="mse")
    return model, first


def test_gradient_goes_through_the_branch(batches):
    """A due step learns as without schedule, another as with D constant."""
    targets = np.ones((16, 2)) * [0.5, -2]
    layer = make(update_every=2, warmup_steps=0)
    model, first = two_layers(layer)
    every, _ = two_layers(make())
    constant = layers.Dense(2)
    fixed, fixed_first = two_layers(Centred(), constant)

    for mine, other in zip(
        model.trainable_weights, every.trainable_weights, strict=True
    ):
        # Not the array itself: JAX's `fit` deletes what it is given.
        other.assign(ops.convert_to_numpy(mine))
    (before,) = to_numpy([first.kernel])
    model.train_on_batch(batches[0], targets)
    every.train_on_batch(batches[0], targets)
    for mine, other in zip(
        model.trainable_weights, every.trainable_weights, strict=True
    ):
        compare.assert_close(mine, ops.convert_to_numpy(other), 1e-6)

    start, kernel, bias = to_numpy((first.kernel, layer.kernel, layer.bias))
    (deconv,) = to_numpy(w for w in layer.weights if w.name == "batch_deconv")
    variances = [
        (batch @ kernel).var(axis=0).mean() + EPSILON
        for batch, kernel in zip(batches, (before, start), strict=False)
    ]
    deconv = deconv * np.sqrt(variances[0] / variances[1])
    fixed_first.kernel.assign(start)
    constant.kernel.assign(deconv[0] @ kernel)
    constant.bias.assign(bias)
    model.train_on_batch(batches[1], targets)
    fixed.train_on_batch(batches[1], targets)
    change, wanted = (
        kernel - start
        for kernel in to_numpy((first.kernel, fixed_first.kernel))
    )
    compare.assert_close(change, wanted)


def test_constant_statistics_give_the_gradient_of_the_folded_layer(
    rng, correlated
):
    inputs = correlated(4, 7, 7, 3)
    upstream = rng.normal(size=(4, 5, 5, 2)).astype("float32")

    def make_conv(differentiate):
        keras.utils.set_random_seed(0)
        layer = DeconvConv2D(
            2, 3, differentiate=differentiate, momentum=0.0, epsilon=EPSILON
        )
        layer.build(inputs.shape)
        return layer

    layer = make_conv(differentiate=False)
    _, grad_inputs, grads = gradients.training_step(layer, inputs, upstream)
    # Without momentum the averages are the statistics of this batch.
    wanted = gradients.gradient(layer.fold(), inputs, upstream)
    compare.assert_close(grad_inputs, ops.convert_to_numpy(wanted))

    other = make_conv(differentiate=True)
    _, through, wanted = gradients.training_step(other, inputs, upstream)
    through = ops.convert_to_numpy(through)
    assert compare.relative_error(grad_inputs, through) > 0.1
    # A kernel has no part in its own D.
    for mine, value in zip(grads, to_numpy(wanted), strict=True):
        compare.assert_close(mine, value, 1e-6)


def test_inference_does_not_count(batches):
    layer = make(update_every=2)
    layer(batches[0], training=False)
    layer(batches[0])
    layer.trainable = False
    layer(batches[0], training=True)
    assert int(layer.weights[-1]) == 0


@pytest.mark.parametrize(
    ("layer", "shape", "periods"),
    [
        (keras_deconv.DeconvConv2D(2, 1), (4, 4, 256), [1]),
        (keras_deconv.DeconvConv2D(2, 1, block_size=64), (4, 4, 256), [1]),
        (keras_deconv.DeconvConv2D(2, 1, block_size=128), (4, 4, 256), [8]),
        (keras_deconv.DeconvConv2D(2, 1, update_every=8), (4, 4, 256), [8]),
        (keras_deconv.DeconvConv2D(2, 3), (4, 4, 1), [8]),
        # Three filters for each feature.
        (keras_deconv.DeconvConv2D(432, 3), (4, 4, 32), [1]),
        (keras_deconv.DeconvConv2D(431, 3), (4, 4, 32), [8]),
        (keras_deconv.DeconvConv2D(432, 3, update_every=8), (4, 4, 32), [8]),
        (
            keras_deconv.DeconvConv2D(
                432, 3, block_layout="contiguous", share_blocks=False
            ),
            (4, 4, 32),
            [8],
        ),
        (keras_deconv.DeconvConv2D(54, 3, groups=2), (4, 4, 2), [1]),
        (keras_deconv.DeconvConv2D(52, 3, groups=2), (4, 4, 2), [8]),
        (keras_deconv.DeconvConv1D(27, 3), (8, 3), [1]),
        (keras_deconv.DeconvConv2DTranspose(2, 3), (4, 4, 256), [1]),
        (keras_deconv.DeconvDepthwiseConv2D(3), (4, 4, 2), [8]),
        (keras_deconv.DeconvSeparableConv2D(2, 3), (4, 4, 2), [8, 1]),
        (keras_deconv.DeconvDense(2), (64,), [1]),
        (keras_deconv.DeconvDense(2), (65,), [8]),
        (keras_deconv.ChannelDeconv(), (4, 4, 256), [1]),
    ],
)
def test_cheap_d_is_always_new(layer, shape, periods):
    layer.build((None, *shape))
    all_statistics = layer.all_statistics()
    assert [each.period for each in all_statistics] == periods
    kept = [each.batch_deconv is not None for each in all_statistics]
    assert kept == [period > 1 for period in periods]


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="Keras itself fails to trace such a layer again",
)
@pytest.mark.parametrize("update_every", [1, 2])
def test_layer_that_is_computed_anew_for_its_gradient(update_every, batches):
    found = []
    for mode in (None, "full"):
        keras.utils.set_random_seed(0)
        with keras.RematScope(mode=mode):
            layer = DeconvDense(4, update_every=update_every, warmup_steps=1)
        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(3),
                layer,
                keras.layers.Dense(1),
            ]
        )
        model.compile(keras.optimizers.SGD(0.01), "mse")
        for batch in batches:
            model.train_on_batch(batch, batch[:, :1])
        found.append(model.get_weights())
    for plain, again in zip(*found, strict=True):
        compare.assert_close(again, plain)


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="Keras itself fails to trace such a layer again",
)
def test_layer_that_is_computed_anew_without_a_last_d(batches):
    """As after `recalibrate`: a D is computed where none would be due."""
    found = []
    for mode in (None, "full"):
        keras.utils.set_random_seed(0)
        with keras.RematScope(mode=mode):
            layer = DeconvDense(4, update_every=4, warmup_steps=1)
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(3), layer]
        )
        model.compile(keras.optimizers.SGD(0.01), "mse")
        for batch in batches:
            model.train_on_batch(batch, batch[:, :1])
            layer.all_statistics()[0].assign(np.zeros((1, 3)), np.eye(3)[None])
        found.append(model.get_weights())
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, atol=1e-6)

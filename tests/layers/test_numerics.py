"""Dtypes, scales and degenerate inputs."""

import functools
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import compare
import gradients
import keras_deconv
import oracle
import oracle_gradient
from authors import ChannelDeconv
from authors import DeconvConv2D
from authors import DeconvDense
from authors import DeconvSeparableConv2D
from empty import can_convolve
from keras_deconv import SmallBatchWarning

ON_JAX = keras.backend.backend() == "jax"
not_on_jax = pytest.mark.skipif(
    ON_JAX, reason="JAX has float64 only behind a switch of the whole process"
)
# Of most inputs, for JAX compiles each operation for each shape.
SHAPE = (2, 5, 5, 4)
PLAIN = {"strides": (1, 1), "dilation_rate": (1, 1), "sampling_stride": 1}


def to_numpy(value):
    return np.asarray(ops.convert_to_numpy(value))


@pytest.mark.parametrize(
    "policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"]
)
def test_statistics_are_those_of_the_rounded_inputs(policy, correlated):
    """Rounding the inputs is all that half precision does to them."""
    settings = {"update_every": 2, "momentum": 0.0}
    layer = DeconvDense(2, dtype=policy, **settings)
    single = DeconvDense(2, **settings)
    inputs = correlated(32, 3)
    layer(inputs, training=True)
    rounded = ops.cast(ops.cast(inputs, layer.compute_dtype), "float32")
    single(rounded, training=True)
    mine, others = layer.non_trainable_weights, single.non_trainable_weights
    assert [w.name for w in mine] == [w.name for w in others]
    for weight, other in zip(mine[:-1], others[:-1], strict=True):
        assert weight.dtype == "float32"
        np.testing.assert_array_equal(to_numpy(weight), to_numpy(other))


@not_on_jax
@pytest.mark.parametrize("method", ["newton_schulz", "eigh"])
def test_float64_convolution(method, correlated):
    """Outputs, statistics and the folded kernel, to nearly all bits."""
    inputs = correlated(4, 6, 6, 2).astype("float64")
    layer = DeconvConv2D(
        3,
        3,
        dtype="float64",
        method=method,
        sampling_stride=1,
        momentum=0.0,
        epsilon=1e-3,
    )
    outputs = layer(inputs, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float64"
    kernel = to_numpy(layer.kernel)
    root = {
        "newton_schulz": functools.partial(
            oracle.inverse_sqrt, num_iterations=5
        ),
        "eigh": oracle.exact_inverse_sqrt,
    }[method]
    columns = oracle.patches(inputs, (3, 3), (1, 1), (1, 1)).reshape(-1, 18)
    mean = columns.mean(0)
    covariance = (columns - mean).T @ (columns - mean) / len(columns)
    deconv = root(covariance + 1e-3 * np.eye(18))
    columns_of_kernel = np.moveaxis(kernel, 2, 0).reshape(18, 3)
    folded = deconv @ columns_of_kernel
    wanted = ((columns - mean) @ folded).reshape(4, 4, 4, 3)
    compare.assert_close(outputs, wanted, 1e-9)
    compare.assert_close(layer.moving_mean, mean[None], 1e-9)
    compare.assert_close(layer.moving_deconv, deconv[None], 1e-9)
    compare.assert_close(
        layer.fold().kernel,
        np.moveaxis(folded.reshape(2, 3, 3, 3), 0, 2),
        1e-9,
    )
    compare.assert_close(layer.fold().bias, -mean @ folded, 1e-9)


@not_on_jax
@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4)])
def test_float64_dense(shape, rng):
    """Keras's own product rounds to float32 on PyTorch."""
    layer = DeconvDense(3, dtype="float64")
    inputs = rng.normal(size=shape)
    outputs = to_numpy(layer(inputs))
    assert outputs.shape == (*shape[:-1], 3)
    # The moving statistics are still those of white inputs.
    compare.assert_close(outputs, inputs @ to_numpy(layer.kernel), 1e-14)


@not_on_jax
def test_float64_gradient(rng, correlated):
    inputs = correlated(2, 5, 5, 2).astype("float64")
    upstream = rng.normal(size=(2, 3, 3, 2))
    layer = DeconvConv2D(2, 3, dtype="float64", sampling_stride=1, epsilon=1e-3)
    _, grad_inputs, _ = gradients.training_step(layer, inputs, upstream)
    compare.assert_close(
        grad_inputs,
        oracle_gradient.conv_inputs(
            inputs, to_numpy(layer.kernel), upstream, 5, 1e-3
        ),
        1e-9,
    )


@not_on_jax
@pytest.mark.parametrize("update_every", [1, 2])
def test_float64_averages(update_every, correlated):
    """The decay has all bits too: 0.9 in float32 is off by 3e-8."""
    inputs = correlated(2, 16, 3).astype("float64")
    layer = DeconvDense(
        2, dtype="float64", momentum=0.9, update_every=update_every
    )
    mean, deconv, variance = np.zeros((1, 3)), np.eye(3)[None], 1.0
    for batch in inputs:
        layer(batch, training=True)
        new_mean, new = oracle.statistics(batch, 1, "contiguous", 5, 1e-5)
        mean = 0.9 * mean + (1 - 0.9) * new_mean
        if update_every > 1:  # D is averaged at unit scale.
            new_variance = batch.var(axis=0).mean() + 1e-5
            old_variance = variance
            variance = 0.9 * old_variance + (1 - 0.9) * new_variance
            deconv = deconv * np.sqrt(old_variance / variance)
            new = new * np.sqrt(new_variance / variance)
        deconv = 0.9 * deconv + (1 - 0.9) * new
    compare.assert_close(layer.moving_mean, mean, 1e-9)
    compare.assert_close(layer.moving_deconv, deconv, 1e-9)
    assert layer.moving_deconv.dtype == "float64"


def outputs_at(scale, epsilon, inputs):
    keras.utils.set_random_seed(0)
    layer = DeconvConv2D(2, 2, sampling_stride=1, epsilon=epsilon)
    return to_numpy(layer(inputs * np.float32(scale), training=True))


@pytest.mark.parametrize(
    ("scale", "epsilon"),
    [(1e4, 1e-5), (1e-4, 1e-5 * 1e-8), (1e-4, 1e-5)],
    ids=["large", "small-with-small-epsilon", "small-with-the-same-epsilon"],
)
def test_scale_of_the_inputs(scale, epsilon, correlated):
    """`epsilon` is absolute: small inputs need a small one."""
    inputs = correlated(*SHAPE)
    wanted = outputs_at(1, 1e-5, inputs)
    outputs = outputs_at(scale, epsilon, inputs)
    if scale < 1 and epsilon == 1e-5:
        # The ridge is far above the variance, and D a multiple of I.
        assert np.abs(outputs).max() < 0.2 * np.abs(wanted).max()
    else:
        compare.assert_close(outputs, wanted, 1e-4)


@pytest.mark.parametrize(
    ("scale", "low", "high"),
    [(1, 1e-6, 1e-4), (1e-2, 1e-2, 0.3), (1e-4, 0.9, 1)],
)
def test_documented_effect_of_epsilon(scale, low, high, correlated):
    """How far 1e-5 is from no ridge at all, in float64."""
    inputs = correlated(8, 6, 6, 3).astype("float64") * scale
    kernel = np.random.default_rng(1).normal(size=(2, 2, 3, 2))
    outputs, without = (
        oracle.deconv_conv(
            inputs, kernel, None, block_size=3, epsilon=epsilon, **PLAIN
        )[0]
        for epsilon in (1e-5, 0.0)
    )
    assert low < compare.relative_error(outputs, without) < high


def constant_channel(rng):
    inputs = rng.normal(size=SHAPE)
    inputs[..., 1] = 3.0
    return inputs


def duplicated_channels(rng):
    inputs = rng.normal(size=SHAPE)
    inputs[..., 1] = inputs[..., 2]
    return inputs


def zeros(rng):
    return np.zeros(SHAPE)


def ones(rng):
    return np.ones(SHAPE)


def huge(rng):
    return 1e15 * rng.normal(size=SHAPE)


DEGENERATE = (constant_channel, duplicated_channels, zeros, ones, huge)
MAKERS = {
    "conv2d": lambda: DeconvConv2D(2, 2, sampling_stride=1),
    "separable2d": lambda: DeconvSeparableConv2D(2, 2),
    "channel": lambda: ChannelDeconv(block_size=3),
    "dense-minimax": lambda: DeconvDense(2, method="minimax"),
}


def assert_finite_step(layer, inputs):
    """Returns the outputs: finite, as are gradients and statistics."""
    inputs = inputs.astype("float32")
    if not layer.built:
        layer.build(inputs.shape)
    shape = layer.compute_output_shape(inputs.shape)
    upstream = np.random.default_rng(2).normal(size=shape).astype("float32")
    outputs, grad_inputs, grads = gradients.training_step(
        layer, inputs, upstream
    )
    for value in (outputs, grad_inputs, *grads, *layer.weights):
        assert np.isfinite(to_numpy(value)).all()
    return to_numpy(outputs)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_degenerate_inputs(make, rng):
    # One layer for all: JAX compiles a gradient for each.
    layer = make()
    for inputs in DEGENERATE:
        assert_finite_step(layer, inputs(rng))


# Without variance D is epsilon ** -1/2 I, so that x D w and mean D w are 316
# times the inputs: their difference keeps rounding of that size.
CANCELLATION = 316 * 1e-6


def test_constant_inputs_give_the_bias(rng):
    """What has no variance carries nothing, whatever the ridge makes of it."""
    layer = DeconvConv2D(
        2, 2, sampling_stride=1, bias_initializer="ones", activation="tanh"
    )
    outputs = to_numpy(layer(np.full(SHAPE, 0.5, "float32"), training=True))
    np.testing.assert_allclose(outputs, np.tanh(1), rtol=CANCELLATION)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (functools.partial(DeconvConv2D, 2, 3, padding="same"), (1, 1, 1, 3)),
        (functools.partial(DeconvDense, 2), (1, 3)),
    ],
    ids=["conv2d", "dense"],
)
def test_single_sample_gives_the_bias(make, shape, rng):
    layer = make(bias_initializer="ones")
    outputs = assert_finite_step(layer, rng.normal(size=shape))
    np.testing.assert_allclose(outputs, 1, rtol=CANCELLATION)


@pytest.mark.parametrize("method", ["newton_schulz", "eigh"])
def test_fewer_rows_than_features(method, rng):
    layer = DeconvDense(2, method=method)
    assert_finite_step(layer, rng.normal(size=(3, 5)))


def test_overflow_is_kept_out_of_the_state(rng):
    """Finite inputs, but no finite variance."""
    layer = DeconvDense(2)
    layer(rng.normal(size=(3, 5)), training=True)
    before = [to_numpy(w) for w in layer.non_trainable_weights]
    layer(1e30 * rng.normal(size=(3, 5)), training=True)
    for weight, kept in zip(layer.non_trainable_weights, before, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), kept)


@pytest.fixture
def warned(monkeypatch):
    """Returns a function that lists the warnings of a training call."""
    monkeypatch.setattr(SmallBatchWarning, "was_given", False)

    def call(layer, inputs):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            layer(inputs, training=True)
        return [
            str(warning.message)
            for warning in found
            if warning.category is SmallBatchWarning
        ]

    return call


def test_small_batch_warns_once(warned, rng):
    inputs = rng.normal(size=(3, 25)).astype("float32")
    (message,) = warned(DeconvDense(2, name="mine"), inputs)
    for part in ("'mine'", "25 features", "3 samples", "num_iterations=5"):
        assert part in message
    assert warned(DeconvDense(2), inputs) == []


@pytest.mark.parametrize(
    ("rows", "settings"),
    [(4, {}), (3, {"num_iterations": 2}), (3, {"epsilon": 1e-2})],
    ids=["enough", "few_iterations", "large_ridge"],
)
def test_no_warning_without_reason(rows, settings, warned, rng):
    inputs = rng.normal(size=(rows, 25)).astype("float32")
    assert warned(DeconvDense(2, **settings), inputs) == []
    assert not SmallBatchWarning.was_given


def test_inference_on_a_small_batch_does_not_warn(warned, rng):
    layer = DeconvDense(2, trainable=False)
    assert warned(layer, rng.normal(size=(3, 25)).astype("float32")) == []


def test_schedule_takes_maps_of_any_size(correlated):
    """Within one period, D of one size is used for another, rescaled."""
    layer = DeconvConv2D(2, 2, update_every=2, warmup_steps=0, epsilon=1e-2)
    model = keras.Sequential([keras.Input((None, None, 3)), layer])
    model.compile(keras.optimizers.SGD(0.0), loss="mse")
    # A graph of TensorFlow does not know the size once there are two.
    last = 3 if keras.backend.backend() == "tensorflow" else 1
    variances = []
    for size, every in ((5, 1), (7, last)):
        inputs = correlated(4, size, size, 3)
        pixels = inputs[:, ::every, ::every]
        variances.append(pixels.var(axis=(0, 1, 2)).mean() + 1e-2)
        targets = np.zeros((4, size - 1, size - 1, 2))
        model.reset_metrics()  # Older Keras returns the mean of all steps.
        loss = model.train_on_batch(inputs, targets)
    weights = {w.name: to_numpy(w) for w in layer.non_trainable_weights}
    assert weights["step"] == 2
    compare.assert_close(weights["batch_variance"], variances[:1])
    scale = np.sqrt(variances[0] / variances[1])
    kernel = to_numpy(layer.kernel)
    _, mean, _ = oracle.deconv_conv(
        inputs, kernel, None, block_size=3, **PLAIN | {"sampling_stride": 3}
    )
    outputs, _, _ = oracle.deconv_conv(
        inputs,
        kernel,
        None,
        block_size=3,
        given=(mean, weights["batch_deconv"] * scale),
        **PLAIN,
    )
    compare.assert_close(loss, np.mean(outputs**2))
    if can_convolve():
        assert layer(np.zeros((0, 5, 5, 3), "float32")).shape[0] == 0


@pytest.mark.parametrize(
    "cls", [functools.partial(DeconvConv2D, 16, 1), ChannelDeconv]
)
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_takes_off_what_the_mean_adds(cls, training, dtype, rng):
    """A rounded kernel makes something else of a large mean."""
    inputs = (np.round(rng.normal(size=(64, 4, 4, 8)) * 8) / 8 + 8).astype(
        "float32"
    )
    layer = cls(dtype=dtype, momentum=0.0, sampling_stride=1)
    layer(inputs, training=True)
    outputs = layer(inputs, training=training)
    outputs = to_numpy(ops.cast(outputs, "float32"))
    offset = np.abs(outputs.mean(axis=(0, 1, 2)))
    # Outputs of about 16 are rounded, in 1024 places: by 2^-8, or 2^-11.
    noise = 16 * (2**-8 if dtype == "mixed_bfloat16" else 2**-11) / 12**0.5
    assert (offset < 4 * noise / 1024**0.5).all()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras_deconv.DeconvDense(2, block_size=4), (8,)),
        (keras_deconv.DeconvConv2D(2, 3, padding="same"), (1, 1, 32)),
        (keras_deconv.DeconvConv2D(2, 3, padding="same"), (4, 4, 3)),
    ],
    ids=["dense", "map-of-one", "padding"],
)
def test_old_d_is_not_blown_up_where_nothing_varies(layer, shape, rng):
    # In each channel: blocks that share a D may differ, and so does padding.
    usual = (rng.normal(size=(64, *shape)) + 1).astype("float32")
    layer.warmup_steps = 1
    for _ in range(2):  # The first has a new D.
        expected = np.abs(to_numpy(layer(usual, training=True))).max()
    pixel = usual[:1] if len(shape) == 1 else usual[:1, :1, :1]
    constant = np.broadcast_to(pixel, (2, *shape))
    found = np.abs(to_numpy(layer(constant, training=True))).max()
    assert found < 5 * expected

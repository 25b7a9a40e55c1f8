"""What frameworks are asked for themselves."""

import contextlib
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
import products
from keras_deconv import _engine

BACKEND = keras.backend.backend()
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="asks JAX")
on_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="asks TensorFlow"
)


@on_jax
@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, {"method": "eigh"}, {"update_every": 2}],
    ids=["every_step", "eigh", "schedule"],
)
def test_jax_keeps_all_bits_of_statistics(settings, with_gradient):
    import jax

    highest = (jax.lax.Precision.HIGHEST,) * 2
    layer = keras_deconv.DeconvConv2D(2, 2, **settings)
    layer.build((2, 4, 4, 3))
    inputs = np.ones((2, 4, 4, 3), "float32")
    with jax.default_matmul_precision(None):
        found = list(products.jax_products(layer, inputs, True, with_gradient))
    inner = [p for name, p, _ in found if name == "dot_general"]
    outer = [p for name, p, _ in found if name == "conv_general_dilated"]
    # Two products are those of the fold.
    assert len(inner) > 2
    assert set(inner) == {highest}
    # Precision of the convolution is the user's choice.
    assert len(outer) == (3 if with_gradient else 1)
    assert set(outer) == {None}


@on_jax
def test_jax_leaves_the_product_of_dense_to_the_user():
    import jax

    layer = keras_deconv.DeconvDense(2)
    layer.build((4, 3))
    with jax.default_matmul_precision(None):
        found = products.jax_products(layer, np.ones((4, 3), "float32"), False)
        assert [precision for _, precision, _ in found].count(None) == 1


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes the precision")
def test_other_backends_are_left_alone():
    assert isinstance(_engine.full_precision(), contextlib.nullcontext)


@on_tensorflow
@pytest.mark.parametrize(
    ("gpus", "tf32"), [(["GPU"], True), (["GPU"], False), ([], True)]
)
def test_tensorflow_warns_of_tf32_on_a_gpu_alone(gpus, tf32, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(
        tf.config,
        "list_physical_devices",
        lambda kind=None: gpus if kind == "GPU" else ["CPU"],
    )
    monkeypatch.setattr(
        tf.config.experimental,
        "tensor_float_32_execution_enabled",
        lambda: tf32,
    )
    layer = keras_deconv.DeconvDense(2)
    expectation = (
        pytest.warns(UserWarning, match=r"TF32.*enable_tensor_float_32")
        if gpus and tf32
        else contextlib.nullcontext()
    )
    with expectation:
        layer.build((4, 3))


@pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
@pytest.mark.parametrize(
    ("place", "flags", "is_warned"),
    [
        ("gpu", "", True),
        ("gpu", "--xla_gpu_enable_triton_gemm=false", False),
        ("gpu", "--xla_gpu_enable_triton_gemm=true", False),
        ("cpu", "", False),
    ],
)
def test_jax_warns_of_slow_first_steps(place, flags, is_warned, monkeypatch):
    import jax

    monkeypatch.setattr(jax, "default_backend", lambda: place)
    monkeypatch.setenv("XLA_FLAGS", flags)
    layer = keras_deconv.DeconvDense(2)
    expectation = (
        pytest.warns(UserWarning, match="XLA_FLAGS=--xla_gpu_enable_triton")
        if is_warned
        else contextlib.nullcontext()
    )
    with expectation:
        layer.build((4, 3))


def test_other_backends_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if BACKEND != "tensorflow":
            _engine.warn_of_tf32()
        if BACKEND != "jax":
            _engine.warn_of_triton()


def gpu_is_there():
    match BACKEND:
        case "tensorflow":
            import tensorflow as tf

            return bool(tf.config.list_physical_devices("GPU"))
        case "torch":
            import torch

            return torch.cuda.is_available()
        case "jax":
            import jax

            return jax.default_backend() == "gpu"


@pytest.mark.skipif(not gpu_is_there(), reason="needs a GPU")
def test_root_on_a_gpu_keeps_all_bits(rng):
    """In TF32, Newton-Schulz would be off by 1e-3 here."""
    factor = rng.normal(size=(256, 128))
    matrix = factor.T @ factor / 256 + 1e-3 * np.eye(128)
    with _engine.full_precision():
        root = keras_deconv.ops.inverse_sqrt(
            ops.convert_to_tensor(matrix[None].astype("float32")), 5
        )
    wanted = oracle.inverse_sqrt(matrix, 5)[None]
    compare.assert_close(root, wanted, 1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize(
    "is_known", [True, pytest.param(False, marks=on_tensorflow)]
)
@pytest.mark.parametrize("strides", [(3,), (1, 2), (9, 3), (2, 1, 3)])
def test_every_position_from_the_first_on(strides, is_known, dtype):
    shape = (2, *(7, 5, 4)[: len(strides)], 3)
    array = np.arange(np.prod(shape)).astype(dtype).reshape(shape)

    def take(inputs):
        return _engine.take_every(inputs, strides)

    if not is_known:
        import tensorflow as tf

        unknown = tf.TensorSpec((None,) * (len(shape) - 1) + (3,), dtype)
        take = tf.function(take, input_signature=[unknown])
    every = (slice(None), *(slice(None, None, stride) for stride in strides))
    found = ops.convert_to_numpy(take(ops.convert_to_tensor(array)))
    np.testing.assert_array_equal(found, array[every])


@pytest.mark.parametrize("strides", [(3,), (1, 2), (9, 3), (2, 1, 3)])
def test_gradient_of_every_position(strides, rng):
    shape = (2, *(7, 5, 4)[: len(strides)], 3)
    every = (slice(None), *(slice(None, None, stride) for stride in strides))
    wanted = np.zeros(shape, "float32")
    wanted[every] = upstream = rng.normal(size=wanted[every].shape)

    def take(inputs):
        return _engine.take_every(inputs, strides)

    inputs = ops.ones(shape)
    found = gradients.gradient(take, inputs, upstream.astype("float32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(found), wanted)


def test_numbers_are_known_where_the_backend_has_computed_them():
    step = keras.Variable(3, trainable=False, dtype="int32")
    variance = keras.Variable([0.5, 2.0])
    numbers = _engine.Numbers(step, variance)
    for expected in (3, 7):
        step.assign(expected)
        found = numbers.read()
        kinds = tuple(map(type, found))
        assert (kinds == (int, float)) == (BACKEND == "torch")
        assert tuple(map(float, found)) == (expected, 0.5)


@pytest.mark.skipif(BACKEND != "torch", reason="others compute later")
def test_numbers_that_are_kept_are_not_read_until_somebody_writes():
    step = keras.Variable(3, trainable=False, dtype="int32")
    numbers = _engine.Numbers(step)
    with products.dispatched("_local_scalar_dense") as reads:
        assert numbers.read() == (3,)
        step.assign(4)
        numbers.keep(4)
        for _ in range(3):
            assert numbers.read() == (4,)
        assert reads.count == 1
        step.assign(9)
        assert numbers.read() == (9,)
        assert numbers.read() == (9,)
        assert reads.count == 3


def test_condition_that_is_known_takes_one_branch():
    def never():
        raise AssertionError

    assert _engine.cond(True, lambda: 1, never) == 1
    assert _engine.cond(False, never, lambda: 2) == 2


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 unless told")
def test_moments_keep_all_bits_of_float64(rng):
    rows = rng.normal(size=(7, 3)) + 1
    found = _engine.mean_and_variance(ops.convert_to_tensor(rows, "float64"))
    for actual, expected in zip(
        found, (rows.mean(0), rows.var(0)), strict=True
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(actual), expected, rtol=1e-14
        )


@pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")
def test_constant_of_inference_mode_serves_a_gradient():
    import torch

    like = torch.ones(2)
    with torch.inference_mode():
        _engine.constant(np.arange, 5, like=like)
    weight = torch.ones(5, requires_grad=True)
    (weight * _engine.constant(np.arange, 5, like=like)).sum().backward()
    assert weight.grad.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")
def test_constant_of_an_export_is_not_kept():
    import torch

    class Ramp(torch.nn.Module):
        def forward(self, inputs):
            return inputs + _engine.constant(np.arange, 7, like=inputs)

    torch.export.export(Ramp(), (torch.ones(7),))
    found = _engine.constant(np.arange, 7, like=torch.ones(7))
    assert type(found) is torch.Tensor
    assert found.tolist() == list(range(7))


@pytest.mark.parametrize("inside_a_graph", [False, True])
def test_shared_function_and_its_gradient(inside_a_graph, rng):
    if inside_a_graph and BACKEND != "tensorflow":
        pytest.skip("asks TensorFlow")
    traced = []

    def power(inputs, exponent):
        traced.append(inputs.shape)
        return inputs**exponent

    def shared(inputs):
        return _engine.traced_once(power, 3)(inputs)

    values, upstream = rng.normal(size=(2, 4)).astype("float32")
    for _ in range(2):
        take = functools.partial(gradients.gradient, shared)
        if inside_a_graph:
            import tensorflow as tf

            # Two graphs, as of two models.
            take = tf.function(take)
        compare.assert_close(take(values, upstream), 3 * values**2 * upstream)
    if BACKEND == "tensorflow":
        # For the value, and for the gradient.
        assert len(traced) == 2
    compare.assert_close(shared(ops.convert_to_tensor(values)), values**3)


def test_eager_code_calls_what_graphs_share_as_it_is():
    calls = []

    def function(inputs):
        calls.append(inputs)
        return inputs

    shared = _engine.traced_once(function)
    for _ in range(2):
        shared(ops.ones((2, 2)))
    assert len(calls) == 2

"""Batches that are not finite, and training that is interrupted."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import authors

BAD = (np.nan, np.inf)


def every_layer(**settings):
    """A model of all layers side by side, so that each sees the inputs."""
    settings = {"momentum": 0.5, "epsilon": 1e-2} | settings
    inputs = keras.Input((6, 6, 5))
    rows = layers.Reshape((36, 5))(inputs)
    cube = layers.Reshape((3, 3, 4, 5))(inputs)
    outputs = [
        authors.DeconvConv1D(2, 3, **settings)(rows),
        authors.DeconvConv2D(2, 3, **settings)(inputs),
        authors.DeconvConv3D(2, 2, **settings)(cube),
        authors.DeconvConv2DTranspose(2, 3, **settings)(inputs),
        authors.DeconvDense(2, **settings)(inputs),
        authors.DeconvDense(2, method="eigh", **settings)(inputs),
        authors.DeconvDepthwiseConv1D(3, **settings)(rows),
        authors.DeconvDepthwiseConv2D(3, **settings)(inputs),
        authors.DeconvSeparableConv1D(2, 3, **settings)(rows),
        authors.DeconvSeparableConv2D(2, 3, **settings)(inputs),
        authors.ChannelDeconv(block_size=2, **settings)(inputs),
    ]
    flat = [layers.Flatten()(output) for output in outputs]
    return keras.Model(inputs, layers.Concatenate()(flat))


def spoiled(batch, value):
    """Returns a batch with one position that is not finite.

    Every layer takes statistics at the first position of a map.
    """
    batch = batch.copy()
    batch[0, 0, 0] = value
    return batch


def state(model):
    """Returns all that a model has learnt, but how often it has been run."""
    return {
        weight.path: np.asarray(ops.convert_to_numpy(weight))
        for weight in model.weights
        if not weight.name.endswith("step")
    }


def assert_same(state, other):
    assert state.keys() == other.keys()
    for path, value in state.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


def assert_finite(model, inputs):
    for path, value in state(model).items():
        assert np.isfinite(value).all(), path
    assert np.isfinite(model.predict(inputs, verbose=0)).all()


def training_call(model):
    """Returns a function that calls a model in training mode.

    On JAX it is compiled: there an eager call compiles each operation.
    """
    if keras.backend.backend() != "jax":
        return lambda inputs: model(inputs, training=True)
    import jax

    @jax.jit
    def stateless(trainable, others, inputs):
        return model.stateless_call(trainable, others, inputs, training=True)

    def call(inputs):
        outputs, others = stateless(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            inputs,
        )
        for variable, value in zip(
            model.non_trainable_variables, others, strict=True
        ):
            variable.assign(value)
        return outputs

    return call


def test_bad_batch_leaves_the_state_as_it_was(rng):
    model = every_layer()
    call = training_call(model)
    first, second = rng.normal(size=(2, 4, 6, 6, 5)).astype("float32")
    call(first)
    before = state(model)
    call(second)
    after = state(model)
    moved = {path for path in before if (before[path] != after[path]).any()}
    # Every average moves, for a start, or nothing is shown below.
    assert moved == {path for path in before if "moving" in path}
    for value in BAD:
        outputs = ops.convert_to_numpy(call(spoiled(first, value)))
        assert not np.isfinite(outputs[0]).all()
        assert_same(state(model), after)
    outputs = ops.convert_to_numpy(call(first))
    assert np.isfinite(outputs).all()
    assert_finite(model, first)


def one_of_each_kind(**settings):
    """All kinds of weights, in a model that compiles sooner."""
    inputs = keras.Input((6, 6, 5))
    x = authors.ChannelDeconv(block_size=2, **settings)(inputs)
    x = authors.DeconvSeparableConv2D(2, 3, **settings)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, authors.DeconvDense(2, **settings)(x))


def test_bad_batch_in_fit_is_as_if_it_had_not_been(rng):
    """Statistics skip it, and so do the weights under loss scaling."""
    model = one_of_each_kind(update_every=2, warmup_steps=9)
    optimizer = keras.optimizers.SGD(1e-3)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer), loss="mse")
    start = model.get_weights()
    first, second = rng.normal(size=(2, 4, 6, 6, 5)).astype("float32")

    def train(*batches):
        model.set_weights(start)
        inputs = np.concatenate(batches)
        targets = np.ones((len(inputs), 2))
        model.fit(inputs, targets, batch_size=4, shuffle=False, verbose=0)
        return state(model)

    wanted = train(first, second)
    # ChannelDeconv and the separable layer keep two sets of statistics.
    assert sum("batch_deconv" in path for path in wanted) == 5
    for value in BAD:
        # The loss scale becomes half, which rounds nothing.
        assert_same(train(first, spoiled(first, value), second), wanted)
    assert_finite(model, first)


def small_network(policy):
    kwargs = {"dtype": policy}
    return keras.Sequential(
        [
            keras.Input((6, 6, 3), dtype="float32"),
            authors.DeconvConv2D(4, 3, activation="relu", **kwargs),
            layers.GlobalAveragePooling2D(**kwargs),
            authors.DeconvDense(2, **kwargs),
        ]
    )


def test_float16_survives_bad_batches(rng):
    """The batches around them count, by finite statistics.

    Predictions alone do not tell: TensorFlow's `relu` gives 0 for a NaN on
    CPUs, and so hides statistics that have become NaN.
    """
    model = small_network("mixed_float16")
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer), loss="mse")
    inputs = rng.normal(size=(32, 6, 6, 3)).astype("float32")
    inputs[8:16, :3] = np.nan
    inputs[16:24, :3] = 1e5  # Inf in float16.
    targets = rng.normal(size=(32, 2)).astype("float32")
    before = state(model)
    model.fit(inputs, targets, batch_size=8, shuffle=False, verbose=0)
    assert_finite(model, inputs[:8])
    for path, weight in state(model).items():
        assert (weight != before[path]).any(), path


def test_too_large_a_loss_scale_skips_steps(rng):
    model = small_network("mixed_float16")
    model.compile(
        keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.1), initial_scale=2.0**60
        ),
        loss="mse",
    )
    inputs = rng.normal(size=(24, 6, 6, 3)).astype("float32")
    before = state(model)
    model.fit(inputs, np.ones((24, 2)), batch_size=8, verbose=0)
    assert_finite(model, inputs)
    for path, weight in state(model).items():
        # What overflows is the gradient: statistics are sound, and kept.
        assert (weight != before[path]).any() == ("moving" in path), path


class Interrupt(keras.callbacks.Callback):
    """Ends training in the middle of the third epoch."""

    def on_train_batch_end(self, batch, logs=None):
        # 4 steps in each epoch.
        if self.model.optimizer.iterations == 10:
            raise KeyboardInterrupt


def network_with_schedule(optimizer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            authors.DeconvDense(3, update_every=3, warmup_steps=2),
            layers.Dense(2),
        ]
    )
    model.compile(optimizer, loss="mse")
    return model


@pytest.mark.parametrize(
    ("cls", "settings"),
    [("SGD", {"momentum": 0.9}), ("Adam", {})],
    ids=["momentum", "adam"],
)
def test_interrupted_training_goes_on(cls, settings, rng, tmp_path):
    """The backup is of step 8, in the middle of a period of three."""
    inputs, targets = rng.normal(size=(32, 3)), rng.normal(size=(32, 2))

    def make():
        optimizer = getattr(keras.optimizers, cls)(0.1, **settings)
        return network_with_schedule(optimizer)

    def train(model, *callbacks):
        return model.fit(
            inputs,
            targets,
            epochs=4,
            batch_size=8,
            shuffle=False,
            verbose=0,
            callbacks=list(callbacks),
        )

    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    # Two models, as in two processes. The first is trained to the end, put
    # back to where it started, trained anew and interrupted.
    first, second = make(), make()
    first.optimizer.build(first.trainable_variables)
    start = everything(first)
    train(first)
    wanted = everything(first)
    for variable, value in zip(
        first.weights + first.optimizer.variables, start, strict=True
    ):
        variable.assign(value)
    with pytest.raises(KeyboardInterrupt):
        train(first, backup(), Interrupt())

    history = train(second, backup())
    assert history.epoch == [2, 3]
    assert int(second.layers[0].weights[-1]) == 16
    for mine, other in zip(everything(second), wanted, strict=True):
        np.testing.assert_array_equal(mine, other)


def everything(model):
    return [
        np.array(ops.convert_to_numpy(variable))
        for variable in model.weights + model.optimizer.variables
    ]

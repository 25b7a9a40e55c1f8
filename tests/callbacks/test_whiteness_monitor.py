import csv

import keras
import numpy as np
import pytest

import keras_deconv
from family import values
from keras_deconv.callbacks import WhitenessMonitor


@pytest.fixture
def inputs(correlated):
    return correlated(16, 4)


def make_model():
    """Two layers, with dropout between: it draws random numbers."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras_deconv.DeconvDense(4, name="first", activation="relu"),
            keras.layers.Dropout(0.5, seed=1),
            keras_deconv.DeconvDense(2, name="second"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def fit(model, inputs, *callbacks, epochs=2, **arguments):
    return model.fit(
        inputs,
        inputs[:, :2],
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **arguments,
    ).history


def expected(model, inputs):
    """Condition number and distance of both layers, in NumPy."""
    found, features = {}, np.asarray(inputs, "float64")
    for layer in (model.get_layer("first"), model.get_layer("second")):
        covariance = np.cov(features.T, bias=True) + 1e-5 * np.eye(4)
        eigenvalues = np.linalg.eigvalsh(covariance)
        mean, deconv = (
            np.asarray(keras.ops.convert_to_numpy(value)[0], "float64")
            for value in (layer.moving_mean, layer.moving_deconv)
        )
        white = np.linalg.eigvalsh(deconv @ covariance @ deconv)
        name = layer.name
        found[f"{name}/condition"] = eigenvalues[-1] / eigenvalues[0]
        found[f"{name}/distance"] = np.sqrt(np.mean((white - 1) ** 2))
        kernel, bias = map(keras.ops.convert_to_numpy, layer.weights[:2])
        features = np.maximum((features - mean) @ deconv @ kernel + bias, 0)
    return found


def test_numbers_are_those_of_the_layers(inputs):
    model = make_model()
    history = fit(model, inputs, WhitenessMonitor(inputs), epochs=3)
    for key, value in expected(model, inputs).items():
        assert len(history[key]) == 3
        assert history[key][-1] == pytest.approx(value, rel=1e-3)
        assert isinstance(history[key][-1], float)
    assert history["first/distance"][0] != history["first/distance"][1]


def test_training_goes_on_as_without(inputs):
    plain, watched = make_model(), make_model()
    fit(plain, inputs, validation_data=(inputs, inputs[:, :2]))
    monitor = WhitenessMonitor(3 * inputs)
    fit(watched, inputs, monitor, validation_data=(inputs, inputs[:, :2]))
    variables = [
        values([*model.variables, *model.optimizer.variables])
        for model in (plain, watched)
    ]
    for old, new in zip(*variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_csv_logger_writes_them(inputs, tmp_path):
    path = tmp_path / "log.csv"
    monitor = WhitenessMonitor(inputs, every=2)
    logger = keras.callbacks.CSVLogger(path)
    history = fit(make_model(), inputs, monitor, logger, epochs=3)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    written = [row["second/distance"] for row in rows]
    assert written[1] == "NA"
    np.testing.assert_allclose(
        [float(written[0]), float(written[2])],
        history["second/distance"],
    )


def test_later_callbacks_see_them(inputs):
    class Recorder(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.keys = set(logs)

    early, late = Recorder(), Recorder()
    fit(make_model(), inputs, early, WhitenessMonitor(inputs), late, epochs=1)
    assert late.keys - early.keys == {
        f"{layer}/{number}"
        for layer in ("first", "second")
        for number in ("condition", "distance")
    }


def test_tensorboard_writes_them(inputs, tmp_path):
    pytest.importorskip("tensorboard")
    # Keras writes them by it, whatever the backend.
    pytest.importorskip("tensorflow")
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    fit(make_model(), inputs, WhitenessMonitor(inputs), board, epochs=1)
    (events,) = tmp_path.rglob("*.tfevents*")
    assert b"epoch_first/condition" in events.read_bytes()


def test_a_model_that_has_diverged_is_reported(inputs):
    model = make_model()
    first = model.get_layer("first")
    first.kernel.assign(np.full((4, 4), np.nan))
    history = fit(model, inputs, WhitenessMonitor(inputs), epochs=1)
    assert np.isfinite(history["first/condition"]).all()
    assert np.isnan(history["second/condition"]).all()
    assert np.isnan(history["second/distance"]).all()


def test_model_must_have_a_layer(inputs):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="must have a deconvolution layer"):
        fit(model, inputs, WhitenessMonitor(inputs))


@pytest.mark.parametrize(
    ("data", "every", "message"),
    [
        ([], 1, r"one batch.*type 'list'"),
        (iter([np.ones((2, 4))]), 1, "one batch"),
        (np.ones((2, 4)), 0, r"`every` must .*every=0"),
        (np.ones((2, 4)), 1.5, r"`every` must .*every=1.5"),
    ],
)
def test_arguments_are_checked(data, every, message):
    with pytest.raises(ValueError, match=message):
        WhitenessMonitor(data, every=every)


def test_the_package_exports_it():
    assert keras_deconv.callbacks.WhitenessMonitor is WhitenessMonitor


class SameNames(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [keras_deconv.DeconvDense(4, name="part") for _ in "ab"]

    def call(self, inputs, training=None):
        for part in self.parts:
            inputs = part(inputs, training=training)
        return inputs[:, :2]


def test_layers_of_one_path_are_told_apart(inputs):
    model = SameNames()
    model.compile("sgd", "mse")
    found = fit(model, inputs, WhitenessMonitor(inputs), epochs=1)
    assert {name for name in found if "condition" in name} == {
        "part/condition",
        "part_2/condition",
    }


def test_numbers_of_names_are_not_those_of_other_layers(inputs):
    model = SameNames()
    model.parts.append(keras_deconv.DeconvDense(4, name="part_2"))
    model.compile("sgd", "mse")
    found = fit(model, inputs, WhitenessMonitor(inputs), epochs=1)
    assert {name for name in found if "condition" in name} == {
        "part/condition",
        "part_2/condition",
        "part_3/condition",
    }


def test_every_counts_from_the_first_epoch_of_a_fit(inputs):
    model, epochs = make_model(), []

    class Seen(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if "first/condition" in logs:
                epochs.append(epoch)

    monitor = WhitenessMonitor(inputs, every=2)
    fit(model, inputs, monitor, Seen(), epochs=3)
    fit(model, inputs, monitor, Seen(), epochs=6, initial_epoch=3)
    assert epochs == [0, 2, 3, 5]

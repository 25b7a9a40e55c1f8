"""Pictures of covariances: the arrays in them, against NumPy."""

import dataclasses
import importlib

import keras
import numpy as np
import pytest

import keras_deconv
from keras_deconv import visualization
from keras_deconv.layers import measure_whiteness
from oracle import patches


@pytest.fixture
def conv(correlated):
    """A layer whose D is not yet that of its inputs; and inputs."""
    inputs = correlated(4, 6, 6, 2)
    layer = keras_deconv.DeconvConv2D(3, 2, sampling_stride=1)
    layer(inputs, training=True)
    return layer, inputs


def expected(layer, inputs):
    """Covariance before and after, in float64."""
    columns = patches(inputs.astype("float64"), (2, 2), (1, 1), (1, 1))
    columns = columns.reshape(-1, columns.shape[-1])
    covariance = np.cov(columns.T, bias=True) + 1e-5 * np.eye(8)
    deconv = keras.ops.convert_to_numpy(layer.moving_deconv)[0]
    return covariance, deconv @ covariance @ deconv


def condition(matrix):
    values = np.linalg.eigvalsh(matrix)
    return values[-1] / values[0]


def test_covariances(conv):
    figure = visualization.plot_covariances(*conv)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2
    for axes, matrix, word in zip(
        panels, expected(*conv), ("before", "after"), strict=True
    ):
        (image,) = axes.images
        np.testing.assert_allclose(
            image.get_array(), matrix, rtol=1e-4, atol=1e-5
        )
        start, _, number = axes.get_title().rpartition(" ")
        assert start == f"{word}: condition"
        assert float(number) == pytest.approx(condition(matrix), abs=0.1)


def test_covariances_of_both_halves(correlated):
    inputs = correlated(4, 6, 6, 2)
    layer = keras_deconv.DeconvSeparableConv2D(3, 2, name="sep")
    layer.build(inputs.shape)
    figure = visualization.plot_covariances(layer, inputs, matrix=0)
    labels = [axes.get_ylabel() for axes in figure.axes if axes.images]
    assert labels == ["sep", "", "sep, pointwise", ""]


def test_matrix_must_exist(conv):
    with pytest.raises(ValueError, match=r"one of 0 to 0.*matrix=1"):
        visualization.plot_covariances(*conv, matrix=1)


def test_spectra(conv):
    layer, inputs = conv
    figure = visualization.plot_spectra(layer, inputs)
    for axes, matrix in zip(figure.axes, expected(*conv), strict=True):
        (line,) = axes.lines
        values = np.linalg.eigvalsh(matrix)[::-1]
        np.testing.assert_allclose(line.get_ydata(), values, rtol=1e-3)
        np.testing.assert_allclose(
            line.get_xdata(), np.arange(1, 9) / 8, rtol=1e-6
        )
        assert axes.get_yscale() == "log"


def test_conditions_of_a_model(correlated):
    inputs = correlated(16, 4)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            # Any other kernel may make a covariance that is nearly singular,
            # the condition of which float32 does not tell.
            keras_deconv.DeconvDense(
                4, kernel_initializer="orthogonal", name="first"
            ),
            keras_deconv.DeconvDense(2, name="second"),
        ]
    )
    model(inputs, training=True)
    figure = visualization.plot_conditions(model, inputs)
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["first", "second"]
    before, after = (
        collection.get_offsets() for collection in axes.collections[1:]
    )
    features = inputs
    for index, layer in enumerate(model.layers):
        features = np.asarray(features, "float64")
        covariance = np.cov(features.T, bias=True) + 1e-5 * np.eye(4)
        deconv = keras.ops.convert_to_numpy(layer.moving_deconv)[0]
        whitened = deconv @ covariance @ deconv
        np.testing.assert_allclose(
            [before[index], after[index]],
            [[condition(covariance), index], [condition(whitened), index]],
            rtol=1e-3,
        )
        features = keras.ops.convert_to_numpy(
            layer(features.astype("float32"), training=False)
        )


@pytest.mark.parametrize(
    "plot",
    [
        visualization.plot_covariances,
        visualization.plot_spectra,
        visualization.plot_conditions,
    ],
)
def test_there_must_be_a_layer(plot):
    layer = keras.layers.Dense(2, name="plain")
    with pytest.raises(ValueError, match=r"deconvolution layer.*'plain'"):
        plot(layer, np.ones((3, 2), "float32"))


def test_figures_are_written(conv, tmp_path):
    layer, inputs = conv
    figures = [
        visualization.plot_covariances(layer, inputs),
        visualization.plot_deconv_kernels(layer),
        visualization.plot_spectra(layer, inputs),
    ]
    for figure in figures:
        figure.savefig(tmp_path / "figure.png", dpi=40)
        written = (tmp_path / "figure.png").read_bytes()
        assert written.startswith(b"\x89PNG")


def test_infinite_condition_is_an_arrow(monkeypatch, conv, tmp_path):
    layer, inputs = conv
    conditions = importlib.import_module(
        "keras_deconv.visualization._conditions"
    )
    (found,) = measure_whiteness(layer, inputs)
    singular = dataclasses.replace(found, covariance=0 * found.covariance)
    for given in ([singular], [found, singular]):
        monkeypatch.setattr(
            conditions, "measure", lambda *arguments, given=given: given
        )
        figure = visualization.plot_conditions(layer, inputs)
        (axes,) = figure.axes
        assert "infinite" in {text.get_text() for text in axes.texts}
        figure.savefig(tmp_path / "figure.png", dpi=40)


def test_spectra_of_many_layers_have_a_scale_in_place_of_names(correlated):
    model = keras.Sequential([keras.Input((3,))])
    for _ in range(17):
        model.add(keras_deconv.DeconvDense(3, kernel_initializer="identity"))
    figure = visualization.plot_spectra(model, correlated(16, 3))
    assert not figure.legends
    assert "order of the model" in figure.axes[-1].get_ylabel()

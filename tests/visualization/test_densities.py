import numpy as np
import pytest

from keras_deconv import visualization


def test_densities_of_standardised_values(rng):
    values = rng.laplace(3, 2, (50, 40))
    figure = visualization.plot_densities({"values": values})
    near, far = figure.axes
    standard = (values - values.mean()) / values.std()
    stairs = near.patches[0].get_data()
    counts, edges = np.histogram(standard, stairs.edges)
    np.testing.assert_allclose(edges, np.arange(-96, 97) / 8)
    np.testing.assert_allclose(stairs.values, counts / 2000 * 8)
    curve = far.lines[0].get_ydata()
    np.testing.assert_allclose(
        curve[counts > 0], stairs.values[counts > 0], rtol=1e-12
    )
    assert np.isnan(curve[counts == 0]).all()
    assert far.get_yscale() == "log"


def test_normal_density_is_drawn_for_comparison(rng):
    figure = visualization.plot_densities({"values": rng.normal(size=99)})
    for axes in figure.axes:
        x, y = axes.lines[-1].get_data()
        expected = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
        np.testing.assert_allclose(y, expected)


def test_every_sample_has_its_label(rng):
    figure = visualization.plot_densities(
        {"before": rng.normal(size=99), "after": rng.laplace(size=99)}
    )
    texts = [text.get_text() for text in figure.axes[0].get_legend().texts]
    assert texts == ["before", "after", "normal distribution"]


@pytest.mark.parametrize(
    "values", [np.zeros(3), np.zeros(0), np.array([0, np.nan])]
)
def test_sample_must_vary(values):
    with pytest.raises(ValueError, match=r"finite, .*Received: 'flat'"):
        visualization.plot_densities({"flat": values})


def test_there_must_be_a_sample():
    with pytest.raises(ValueError, match="must be a sample"):
        visualization.plot_densities({})

"""Eigenvalues of the covariances in a model, before and after."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from keras_deconv.visualization._style import measure
from keras_deconv.visualization._style import title_of

# More would leave no room for the curves.
_MOST_NAMED = 16


def plot_spectra(model: Any, inputs: Any) -> Figure:
    """Draws the eigenvalues of the covariance that each layer whitens.

    Largest first, with all D of a layer together. The right panel shows the
    whitened covariance, by the moving D: at best, all eigenvalues are 1. A
    few Newton-Schulz steps bring the large ones there and leave the small
    ones small, on purpose.

    Args:
        model: A built model, or a deconvolution layer.
        inputs: A batch of inputs of the model.

    Returns:
        The figure, with a curve for every layer, the first one darkest, and
        the names of up to 16 layers.

    Raises:
        ValueError: If there is no built deconvolution layer.
    """
    found = measure(model, inputs)
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(found)))
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    before, after = figure.subplots(1, 2, sharex=True)
    for each, color in zip(found, colors, strict=True):
        for axes, matrices in (
            (before, each.covariance),
            (after, each.whitened),
        ):
            values = np.sort(np.linalg.eigvalsh(matrices).ravel())[::-1]
            share = np.arange(1, values.size + 1) / values.size
            axes.plot(
                share,
                values,
                color=color,
                label=title_of(each),
                marker="o" if values.size == 1 else None,
            )
    for axes, title in (
        (before, "covariance of the input"),
        (after, "after whitening"),
    ):
        axes.set(yscale="log", title=title, xlabel="share of directions")
        axes.grid(alpha=0.3)
    before.set_ylabel("eigenvalue, largest first")
    if len(found) > _MOST_NAMED:
        viridis = matplotlib.colormaps["viridis"]
        shown = ListedColormap(viridis(np.linspace(0, 0.9, 256)))
        figure.colorbar(
            ScalarMappable(Normalize(1, len(found)), shown),
            ax=[before, after],
            label="layer, in the order of the model",
        )
        return figure
    handles, labels = before.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside right upper",
        title="layer",
        fontsize="small",
    )
    return figure

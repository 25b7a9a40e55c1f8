"""The covariance of what a layer whitens, before and after (figure 3)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_deconv._checks import check_count
from keras_deconv.layers import condition_number
from keras_deconv.visualization._style import measure
from keras_deconv.visualization._style import show_signed
from keras_deconv.visualization._style import title_of


def plot_covariances(layer: Any, inputs: Any, matrix: int = 0) -> Figure:
    """Draws the covariance before and after whitening (figure 3).

    The covariance is that of `inputs`, ridge included; whitening is by the
    moving D of the layer, as in inference. Features are in the order of D:
    all taps of a channel, then those of the next. A layer that whitens twice
    has a row for each.

    Args:
        layer: A built deconvolution layer.
        inputs: A batch of inputs of the layer.
        matrix: Which of its matrices to draw, if the layer has several D.

    Returns:
        The figure. Colours are symmetric about zero; each matrix has a scale
        of its own.

    Raises:
        ValueError: If the layer is no built deconvolution layer, or has no
            such matrix.
    """
    found = measure(layer, inputs)
    fewest = min(len(each.covariance) for each in found)
    if check_count("matrix", matrix, 0) >= fewest:
        raise ValueError(
            f"`matrix` must be one of 0 to {fewest - 1}. "
            f"Received: matrix={matrix!r}"
        )
    figure = Figure(figsize=(9, 4.1 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), 2, squeeze=False)
    for row, each in zip(grid, found, strict=True):
        for axes, word, values in zip(
            row,
            ("before", "after"),
            (each.covariance[matrix], each.whitened[matrix]),
            strict=True,
        ):
            image = show_signed(axes, values, np.abs(values).max())
            figure.colorbar(image, ax=axes, shrink=0.85)
            condition = condition_number(values)
            axes.set_title(f"{word}: condition {condition:,.1f}")
            axes.set_xlabel(f"{len(values)} features of the input")
        row[0].set_ylabel(title_of(each))
    return figure

"""Condition numbers of the covariances in a model, before and after."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_deconv.layers import condition_number
from keras_deconv.visualization._style import AFTER
from keras_deconv.visualization._style import BEFORE
from keras_deconv.visualization._style import REFERENCE
from keras_deconv.visualization._style import measure
from keras_deconv.visualization._style import title_of


def plot_conditions(model: Any, inputs: Any) -> Figure:
    """Draws the condition number of what each layer whitens.

    Before: of the covariance with its ridge. After: of the covariance that is
    whitened by the moving D. With several D, of the worst. Gradient descent on
    a linear layer needs a number of steps that is proportional to it.

    Args:
        model: A built model, or a deconvolution layer.
        inputs: A batch of inputs of the model.

    Returns:
        The figure, with a line for every layer, the first one on top. One
        that is infinite, of a covariance that rounding made singular, is an
        arrow at the right end.

    Raises:
        ValueError: If there is no built deconvolution layer.
    """
    found = measure(model, inputs)
    lines = range(len(found))
    before = [each.condition for each in found]
    after = [condition_number(each.whitened) for each in found]
    figure = Figure(figsize=(8, 1.4 + 0.32 * len(found)), layout="constrained")
    axes = figure.subplots()
    finite = [each for each in (*before, *after) if np.isfinite(each)]
    end = 10 * max(finite, default=1.0)
    ends = [np.minimum(values, end) for values in (before, after)]
    axes.hlines(lines, ends[1], ends[0], color=REFERENCE, alpha=0.4)
    for values, color, label, marker in (
        (before, BEFORE, "input", "o"),
        (after, AFTER, "whitened", "D"),
    ):
        axes.scatter(
            values, lines, color=color, label=label, marker=marker, zorder=3
        )
        for line in lines:
            if np.isinf(values[line]):
                axes.scatter(end, line, color=color, marker=">", zorder=3)
                axes.annotate(
                    "infinite",
                    (end, line),
                    xytext=(-6, 0),
                    textcoords="offset points",
                    fontsize="small",
                    ha="right",
                    va="center",
                )
    axes.set(xscale="log", xlabel="condition number of the covariance")
    axes.set_yticks(lines, [title_of(each) for each in found])
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    axes.legend(loc="best")
    return figure

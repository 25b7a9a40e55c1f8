"""Condition numbers of the covariances in a model, before and after."""

from typing import Any

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
        The figure, with a line for every layer, the first one on top.

    Raises:
        ValueError: If there is no built deconvolution layer.
    """
    found = measure(model, inputs)
    lines = range(len(found))
    before = [each.condition for each in found]
    after = [condition_number(each.whitened) for each in found]
    figure = Figure(figsize=(8, 1.4 + 0.32 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(lines, after, before, color=REFERENCE, alpha=0.4)
    axes.scatter(before, lines, color=BEFORE, label="input", zorder=3)
    axes.scatter(
        after, lines, color=AFTER, label="whitened", marker="D", zorder=3
    )
    axes.set(xscale="log", xlabel="condition number of the covariance")
    axes.set_yticks(lines, [title_of(each) for each in found])
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    axes.legend(loc="best")
    return figure

"""The curves of a comparison."""

from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from _comparison import DECONV
from _comparison import Candidate

DECONV_COLOR = "tab:orange"
BATCH_NORM_COLOR = "tab:blue"
FAINT = 0.3


def save_curves(
    candidates: Sequence[Candidate],
    winners: Sequence[Candidate],
    path: Path,
    title: str,
) -> None:
    """Draws test accuracy and training loss, all but the winners faintly."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for candidate in candidates:
        style = _style(candidate, faint=candidate not in winners)
        runs = candidate.runs
        _draw(accuracy, runs[0].epochs, (r.accuracies for r in runs), style)
        _draw(loss, runs[0].epochs, (r.losses for r in runs), style)
    accuracy.set(xlabel="epoch", ylabel="test accuracy")
    loss.set(xlabel="epoch", ylabel="training loss")
    loss.legend(title="network, learning rate")
    for axes in (accuracy, loss):
        axes.grid(alpha=FAINT)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _draw(
    axes: Axes,
    epochs: Sequence[float],
    curves: Iterable[Sequence[float]],
    style: dict[str, Any],
) -> None:
    """Draws the mean of the seeds, and their range behind it."""
    values = np.array(list(curves))
    axes.plot(epochs, values.mean(axis=0), marker=".", **style)
    if len(values) > 1:
        axes.fill_between(
            epochs,
            values.min(axis=0),
            values.max(axis=0),
            color=style["color"],
            alpha=FAINT / 2,
            linewidth=0,
        )


def _style(candidate: Candidate, faint: bool) -> dict[str, object]:
    deconv = candidate.network == DECONV
    return {
        "color": DECONV_COLOR if deconv else BATCH_NORM_COLOR,
        "alpha": FAINT if faint else 1.0,
        "linestyle": "--" if faint else "-",
        "label": f"{candidate.network}, {candidate.learning_rate:g}",
    }

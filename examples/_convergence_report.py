"""Table and curves of how fast losses fall."""

import statistics
from collections.abc import Iterable
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator
from matplotlib.ticker import NullFormatter
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import ArrayLike
from rich import box
from rich.table import Table

from _comparison import BATCH_NORM
from _comparison import DECONV
from _convergence import LAST_STEPS
from _convergence import PLAIN
from _convergence import Trace
from _plot import BATCH_NORM_COLOR
from _plot import DECONV_COLOR
from _plot import FAINT
from _tables import accuracy_lines

COLORS = {
    PLAIN: "dimgray",
    BATCH_NORM: BATCH_NORM_COLOR,
    DECONV: DECONV_COLOR,
}
LINE_STYLES = ("-", "--", ":", "-.")


def results_table(traces: Iterable[Trace]) -> Table:
    """Shows losses and test accuracy at the end."""
    table = Table(
        title="At the end",
        caption=(
            f"training loss: mean of the last {LAST_STEPS} steps; accuracy: on "
            "the test set; of several seeds: mean, lowest and highest"
        ),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("loss", no_wrap=True)
    table.add_column("network", no_wrap=True)
    for title in (
        "rate",
        "training loss",
        "test loss",
        "accuracy",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for group in by_method(traces):
        first = group[0]
        table.add_row(
            first.objective,
            first.method.network,
            f"{first.method.learning_rate:g}",
            loss_lines(group, [trace.final_loss for trace in group]),
            loss_lines(group, [trace.test_losses[-1] for trace in group]),
            "\n".join(
                accuracy_lines([trace.accuracies[-1] for trace in group])
            ),
        )
    return table


def loss_lines(group: Sequence[Trace], values: Sequence[float]) -> str:
    """Writes a loss; of several, the mean and below it the range."""
    if any(trace.has_diverged for trace in group):
        return "diverged"
    mean = f"{statistics.fmean(values):.3g}"
    if len(values) == 1:
        return mean
    return f"{mean}\n{min(values):.3g}–{max(values):.3g}"


def draw_losses(axes: Axes, traces: Iterable[Trace], highest: float) -> None:
    """Draws the training loss of every step, up to a highest one.

    The mean over the seeds, and their range behind it. A curve that ends has
    diverged.
    """
    for group, style in styled(traces):
        losses = np.array([trace.losses for trace in group])
        steps = np.arange(1, losses.shape[1] + 1)
        _draw(axes, steps, np.where(losses < highest, losses, np.nan), style)
    axes.set(xscale="log", yscale="log", xlabel="step")
    axes.set_ylabel("training loss of the batch")
    for axis in (axes.xaxis, axes.yaxis):
        label_in_decimals(axis)
    axes.grid(alpha=FAINT)


def draw_accuracies(axes: Axes, traces: Iterable[Trace]) -> None:
    """Draws the test accuracy, the mean over the seeds and their range."""
    for group, style in styled(traces):
        values = np.array([trace.accuracies for trace in group])
        _draw(axes, group[0].steps, values, style)
    axes.set(xlabel="step", ylabel="test accuracy")
    axes.grid(alpha=FAINT)


def label_in_decimals(axis: Axis) -> None:
    """Labels a logarithmic axis with 1, 2, 5, 10, ..., not with powers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def by_method(traces: Iterable[Trace]) -> list[list[Trace]]:
    """Returns lists of runs that differ by their seed alone."""

    def key(trace: Trace) -> tuple[str, str, float]:
        method = trace.method
        return trace.objective, method.network, method.learning_rate

    return [list(group) for _, group in groupby(traces, key)]


def best_of_each(traces: Iterable[Trace]) -> list[Trace]:
    """Returns the runs of each network at its best learning rate.

    That with the lowest mean test loss at the end.
    """
    best: dict[str, list[Trace]] = {}
    for group in by_method(traces):
        network = group[0].method.network
        if network not in best or _final(group) < _final(best[network]):
            best[network] = group
    return [trace for group in best.values() for trace in group]


def _final(group: Sequence[Trace]) -> float:
    if any(trace.has_diverged for trace in group):
        return np.inf
    return statistics.fmean(trace.test_losses[-1] for trace in group)


def styled(
    traces: Iterable[Trace],
) -> list[tuple[list[Trace], dict[str, str]]]:
    """Pairs runs with how to draw them: a colour for every network."""
    groups = by_method(traces)
    seen: dict[str, int] = {}
    pairs = []
    for group in groups:
        method = group[0].method
        index = seen.setdefault(method.network, 0)
        seen[method.network] += 1
        style = {
            "color": COLORS[method.network],
            "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
            "label": method.label,
        }
        pairs.append((group, style))
    return pairs


def _draw(
    axes: Axes,
    steps: ArrayLike,
    values: np.ndarray,
    style: dict[str, Any],
) -> None:
    axes.plot(steps, values.mean(axis=0), **style)
    if len(values) > 1:
        axes.fill_between(
            steps,
            values.min(axis=0),
            values.max(axis=0),
            color=style["color"],
            alpha=FAINT / 2,
            linewidth=0,
        )

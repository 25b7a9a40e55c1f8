"""The tables that the quickstart prints."""

import math
import statistics
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from rich import box
from rich.table import Table

from _comparison import Candidate


def training_table(
    candidates: Iterable[Candidate], winners: Sequence[Candidate]
) -> Table:
    """Shows how every candidate has trained, the winners in bold."""
    table = Table(
        title="Training",
        caption=(
            "ms per step: median time of a training step; "
            "the first step, which compiles, does not count"
        ),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("network", no_wrap=True)
    for title in (
        "learning\nrate",
        "test\naccuracy",
        "training\nloss",
        "ms per\nstep",
        "trainable\nweights",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for candidate in candidates:
        runs = candidate.runs
        table.add_row(
            candidate.network,
            f"{candidate.learning_rate:g}",
            "\n".join(accuracy_lines(candidate.final_accuracies)),
            f"{statistics.fmean(run.losses[-1] for run in runs):.3f}",
            f"{statistics.fmean(run.step_milliseconds for run in runs):.0f}",
            f"{trainable_weights(candidate):,}",
            style="bold" if candidate in winners else None,
        )
    return table


def inference_table(milliseconds: Mapping[str, float], images: int) -> Table:
    """Shows how long predictions take."""
    table = Table(
        title="Inference",
        caption=f"median time for a batch of {images} images",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("network")
    table.add_column("ms", justify="right")
    for name, value in milliseconds.items():
        table.add_row(name, f"{value:.1f}")
    return table


def accuracy_lines(shares: Sequence[float]) -> list[str]:
    """Writes an accuracy; of several, the mean and below it the range."""
    mean = f"{statistics.fmean(shares):.1%}"
    if len(shares) == 1:
        return [mean]
    return [mean, f"{100 * min(shares):.1f}–{max(shares):.1%}"]


def trainable_weights(candidate: Candidate) -> int:
    """Counts the numbers that training changes."""
    variables = candidate.model.trainable_variables
    return sum(math.prod(variable.shape) for variable in variables)

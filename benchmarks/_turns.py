"""Timing of things that take turns, so that load meets all of them alike."""

import statistics
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

Seconds = dict[str, list[float]]


def again(name: str) -> str:
    """Returns the name of the second turn that the baseline takes."""
    return f"{name}, again"


def take_turns(
    forms: Mapping[str, Callable[[], Any]], rounds: int, baseline: str
) -> Seconds:
    """Returns the seconds of each turn, by name.

    Each form runs once before, untimed. The baseline takes a second turn in
    each round: the ratio to itself says how much is noise.
    """
    for run in forms.values():
        run()
    seconds: Seconds = {name: [] for name in (*forms, again(baseline))}
    for _ in range(rounds):
        for name, run in forms.items():
            seconds[name].append(_time(run))
        seconds[again(baseline)].append(_time(forms[baseline]))
    return seconds


def to_records(
    seconds: Seconds, baseline: str, *, steps: int = 1
) -> list[dict[str, Any]]:
    """Returns medians, and medians of the ratios within each round.

    Args:
        seconds: What `take_turns` returned.
        baseline: The form that the others are compared with.
        steps: Steps in a turn.
    """
    return [
        {
            "form": name,
            "ms": 1e3 * statistics.median(turns) / steps,
            f"ratio to {baseline}": statistics.median(
                mine / base
                for mine, base in zip(turns, seconds[baseline], strict=True)
            ),
        }
        for name, turns in seconds.items()
    ]


def _time(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start

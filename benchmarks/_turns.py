"""Timing of things that take turns, so that load meets all of them alike.

Time on the processor is taken too: other work on the machine adds to the
time on the clock, and less to this.
"""

import statistics
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple


class Turn(NamedTuple):
    """Seconds of one turn: on the clock, and on the processor."""

    clock: float
    processor: float


Turns = dict[str, list[Turn]]


def again(name: str) -> str:
    """Returns the name of the second turn that the baseline takes."""
    return f"{name}, again"


def take_turns(
    forms: Mapping[str, Callable[[], Any]], rounds: int, baseline: str
) -> Turns:
    """Returns all turns, by name.

    Each form runs once before, untimed. The baseline takes a second turn in
    each round: the ratio to itself says how much is noise.
    """
    for run in forms.values():
        run()
    turns: Turns = {name: [] for name in (*forms, again(baseline))}
    for _ in range(rounds):
        for name, run in forms.items():
            turns[name].append(_time(run))
        turns[again(baseline)].append(_time(forms[baseline]))
    return turns


def to_records(
    turns: Turns, baseline: str, *, steps: int = 1
) -> list[dict[str, Any]]:
    """Returns medians, and medians of the ratios within each round.

    Args:
        turns: What `take_turns` returned.
        baseline: The form that the others are compared with.
        steps: Steps in a turn.
    """
    clock, processor = (
        {name: [turn[index] for turn in mine] for name, mine in turns.items()}
        for index in range(2)
    )
    return [
        {
            "form": name,
            "ms": 1e3 * statistics.median(clock[name]) / steps,
            f"ratio to {baseline}": _ratio(clock[name], clock[baseline]),
            "ratio of processor time": _ratio(
                processor[name], processor[baseline]
            ),
        }
        for name in turns
    ]


def _ratio(mine: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, base, strict=True))


def _time(run: Callable[[], Any]) -> Turn:
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return Turn(time.perf_counter() - clock, time.process_time() - processor)

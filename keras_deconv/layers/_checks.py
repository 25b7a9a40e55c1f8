"""Argument checks: the rule, then what was received."""

import numbers
from typing import Any


def check_count(name: str, value: Any, minimum: int = 1) -> int:
    """Returns `value` as an int. Raises ValueError unless it is >= minimum."""
    if (
        not isinstance(value, numbers.Integral)
        or isinstance(value, bool)
        or value < minimum
    ):
        raise ValueError(
            f"`{name}` must be an integer of at least {minimum}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """Returns `value` as a float. Raises ValueError unless 0 < value < inf."""
    if not _is_real(value) or not 0 < value < float("inf"):
        raise ValueError(
            f"`{name}` must be a positive, finite number. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_decay(name: str, value: Any) -> float:
    """Returns `value` as a float. Raises ValueError unless 0 <= value < 1."""
    if not _is_real(value) or not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be at least 0 and below 1. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_flag(name: str, value: Any) -> bool:
    """Returns `value`. Raises ValueError unless it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(
            f"`{name}` must be True or False. Received: {name}={value!r}"
        )
    return value


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    """Returns `value`. Raises ValueError unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {choices}. Received: {name}={value!r}"
        )
    return value


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)

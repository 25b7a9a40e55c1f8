"""Argument checks: the rule, then what was received."""

import numbers
from typing import Any

# Counts are compared with tensors of int32, and the ridge is added in float32.
_LARGEST_COUNT = 2**31 - 1
_SMALLEST_FLOAT, _LARGEST_FLOAT = 2.0**-126, 2.0**127


def check_count(name: str, value: Any, minimum: int = 1) -> int:
    """Returns `value` as an int. Raises ValueError unless it is >= minimum."""
    if (
        not isinstance(value, numbers.Integral)
        or isinstance(value, bool)
        or not minimum <= int(value) <= _LARGEST_COUNT
    ):
        raise ValueError(
            f"`{name}` must be an integer of at least {minimum}, and below "
            "2**31. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """Returns `value` as a float. Raises ValueError unless 0 < value < inf.

    What float32 cannot tell from either counts as the same.
    """
    if not _is_real(value) or not _SMALLEST_FLOAT <= value <= _LARGEST_FLOAT:
        raise ValueError(
            f"`{name}` must be a positive, finite number in float32. "
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
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"`{name}` must be one of {choices}. Received: {name}={value!r}"
        )
    return value


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)

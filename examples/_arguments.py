"""Types of arguments on a command line."""

import math
from collections.abc import Callable


def positive(kind: type) -> Callable[[str], float]:
    """Returns an argument type: a `kind` of number above zero."""

    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError(text)
        return value

    convert.__name__ = f"positive {kind.__name__}"
    return convert


def non_negative(text: str) -> float:
    """An argument type: a number that is zero or more."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value

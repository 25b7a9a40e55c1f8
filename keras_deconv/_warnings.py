"""Warnings that point at the code of the user."""

import sys
import warnings

_INSIDE = ("keras_deconv", "keras", "tensorflow", "torch")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns of the line that called into this package, or into Keras."""
    frame, level = sys._getframe(), 1
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

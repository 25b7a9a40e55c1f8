"""What all pictures have in common."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from keras_deconv.layers import Whiteness
from keras_deconv.layers import measure_whiteness

# Colours that colour-blind readers tell apart (Okabe and Ito, 2008).
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BEFORE, AFTER = PALETTE[:2]
REFERENCE = "#555555"
# Of signed values: red above zero, blue below, white at zero.
SIGNED = "RdBu_r"


def show_signed(axes: Axes, values: np.ndarray, limit: float) -> AxesImage:
    """Shows a matrix in colours that are symmetric about zero."""
    axes.set(xticks=[], yticks=[])
    return axes.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit)


def measure(model: Any, inputs: Any) -> list[Whiteness]:
    """Returns the whiteness of all layers.

    Raises:
        ValueError: If there is no deconvolution layer.
    """
    found = measure_whiteness(model, inputs)
    if not found:
        raise ValueError(
            "There must be a built deconvolution layer to draw. "
            f"Received: '{model.name}'"
        )
    return found


def title_of(found: Whiteness) -> str:
    """Returns the path of a layer, and which half of it is meant."""
    half = found.prefix.rstrip("_")
    return f"{found.name}, {half}" if half else found.name

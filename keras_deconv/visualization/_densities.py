"""How values are distributed, and how heavy the tails are (figure 10)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops
from matplotlib.figure import Figure

from keras_deconv.visualization._style import PALETTE
from keras_deconv.visualization._style import REFERENCE

_REACH = 12.0
_NEAR = 4.0
_BINS_PER_DEVIATION = 8


def plot_densities(samples: Mapping[str, Any]) -> Figure:
    """Draws histograms and log densities of samples (figure 10).

    Every sample is standardised: its mean is taken out, and its deviation is
    the unit of the abscissa. The left panel shows densities, the right one
    their logarithms up to 12 deviations, where a normal distribution falls
    as a parabola and a heavy, sparse one as straight lines.

    Args:
        samples: Values of any shape, by what the legend calls them.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no sample, or one is empty, constant or not
            finite.
    """
    if not samples:
        raise ValueError(
            f"There must be a sample to draw. Received: samples={samples!r}"
        )
    edges = np.linspace(
        -_REACH, _REACH, round(2 * _REACH * _BINS_PER_DEVIATION) + 1
    )
    centres = (edges[1:] + edges[:-1]) / 2
    figure = Figure(figsize=(10, 4), layout="constrained")
    near, far = figure.subplots(1, 2)
    highest = 1.0
    for index, (label, values) in enumerate(samples.items()):
        values = _standardise(label, values)
        counts, _ = np.histogram(values, edges)
        density = counts / (values.size * np.diff(edges))
        highest = max(highest, density.max())
        color = PALETTE[index % len(PALETTE)]
        near.stairs(density, edges, color=color, label=label)
        near.stairs(density, edges, color=color, alpha=0.15, fill=True)
        # A bin without values has no logarithm: the curve has a gap there.
        logs = np.where(counts, density, np.nan)
        far.plot(centres, logs, ".-", color=color, label=label, markersize=3)
    normal = np.exp(-(centres**2) / 2) / np.sqrt(2 * np.pi)
    for axes in (near, far):
        axes.plot(
            centres, normal, "--", color=REFERENCE, label="normal distribution"
        )
        axes.set_xlabel("value / standard deviation")
        axes.grid(alpha=0.3)
    near.set(xlim=(-_NEAR, _NEAR), ylabel="density", ylim=(0, None))
    far.set(xlim=(-_REACH, _REACH), ylabel="density, logarithmic")
    far.set(yscale="log", ylim=(1e-6, 2 * highest))
    near.legend()
    return figure


def _standardise(label: str, values: Any) -> np.ndarray:
    values = np.asarray(ops.convert_to_numpy(values), "float64").ravel()
    # That of equal values may be rounding.
    is_constant = not values.size or values.min() == values.max()
    deviation = 0.0 if is_constant else values.std()
    if not 0 < deviation < np.inf:
        raise ValueError(
            "A sample must be finite, with more than one value. Received: "
            f"'{label}' of size {values.size}, deviation {deviation}"
        )
    standardised: np.ndarray = (values - values.mean()) / deviation
    return standardised

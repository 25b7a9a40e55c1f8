"""How does the cost of a layer grow: with channels, batch, image and kernel?

    KERAS_BACKEND=torch python benchmarks/scaling.py

One convolution is trained: with batch normalization, and deconvolved by each
preset. One of the four sizes varies, the others stay at their middle. The
exponent is the slope of the time over the size, both as logarithms, from the
middle upwards. Writes a plot beside the result file.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

import keras_deconv
from _networks import BATCH_NORM
from _networks import prepare
from _results import read
from _results import result_path
from _results import write
from _turns import take_turns
from _turns import to_records
from render import report

QUESTION = (
    "How does the cost of a layer grow: with channels, batch, image and kernel?"
)
STEPS = 8
MIDDLE = {"channels": 64, "batch": 32, "side": 32, "kernel": 3}
SIZES = {
    "channels": (16, 32, 64, 128, 256, 512, 1024),
    "batch": (8, 16, 32, 64, 128, 256, 512),
    "side": (16, 32, 64, 112, 224),
    "kernel": (1, 3, 5, 7, 11),
}

COLORS = {
    form: f"C{index}"
    for index, form in enumerate(
        (BATCH_NORM, *map("deconvolution, {}".format, keras_deconv.PRESETS))
    )
}


def make_forms(
    channels: int, side: int, kernel: int, presets: Sequence[str]
) -> dict[str, Any]:
    """Returns the convolution in every form, as a model.

    What goes before it learns, so that its inputs have a gradient.
    """
    inputs = keras.Input((side, side, channels))
    x = layers.PReLU(shared_axes=[1, 2])(inputs)
    x = layers.Conv2D(channels, kernel, padding="same", use_bias=False)(x)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x))
    normalized = keras.Model(inputs, x)
    forms = {BATCH_NORM: normalized}
    for preset in presets:
        forms[f"deconvolution, {preset}"] = keras_deconv.deconvolutionize(
            normalized, preset=preset, warmup_steps=0
        )
    for model in forms.values():
        prepare(model)
    return forms


def measure(
    axis: str, size: int, rounds: int, presets: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns one record for each form; a turn is a period of "fast"."""
    sizes = {**MIDDLE, axis: size}
    side, channels = sizes["side"], sizes["channels"]
    rng = np.random.default_rng(0)
    shape = (sizes["batch"], side, side, channels)
    images = rng.normal(size=shape).astype("float32")
    labels = rng.integers(0, channels, sizes["batch"])

    def turn(model: keras.Model) -> None:
        for _ in range(STEPS):
            float(model.train_on_batch(images, labels))

    forms = make_forms(channels, side, sizes["kernel"], presets)
    turns = take_turns(
        {name: partial(turn, model) for name, model in forms.items()},
        rounds,
        BATCH_NORM,
    )
    return [
        {"axis": axis, "size": size, **record}
        for record in to_records(turns, BATCH_NORM, steps=STEPS)
        if record["form"] in forms
    ]


def exponents(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the slope of each form along each axis, from the middle up."""
    found = []
    for axis, middle in MIDDLE.items():
        for form in dict.fromkeys(record["form"] for record in records):
            upper = [
                (record["size"], record["ms"])
                for record in records
                if (record["axis"], record["form"]) == (axis, form)
                and record["size"] >= middle
            ]
            if len(upper) < 2:
                continue
            sizes, times = np.log(np.transpose(upper))
            slope, _ = np.polyfit(sizes, times, 1)
            found.append({"axis": axis, "form": form, "exponent": slope})
    return found


def plot(records: Sequence[dict[str, Any]]) -> Figure:
    """Returns time over size, one panel for each axis that was measured."""
    axes = list(dict.fromkeys(record["axis"] for record in records))
    figure = Figure(figsize=(3.2 * len(axes), 3.5), layout="constrained")
    panels = figure.subplots(1, len(axes), squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=True):
        mine = [record for record in records if record["axis"] == axis]
        for form in dict.fromkeys(record["form"] for record in mine):
            points = [
                (record["size"], record["ms"])
                for record in mine
                if record["form"] == form
            ]
            panel.loglog(
                *np.transpose(points),
                marker="o",
                label=form,
                color=COLORS[form],
            )
        sizes = sorted({record["size"] for record in mine})
        panel.set_xticks(sizes, labels=sizes)
        panel.minorticks_off()
        panel.set(xlabel=axis, ylabel="ms per step")
    panels[0].legend()
    return figure


def main() -> None:
    """Measures, writes the result file and the plot, and prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--axes", nargs="+", choices=SIZES, default=tuple(SIZES)
    )
    parser.add_argument("--largest", type=float, default=float("inf"))
    parser.add_argument(
        "--presets",
        nargs="+",
        choices=keras_deconv.PRESETS,
        default=tuple(keras_deconv.PRESETS),
        help='D of "paper" has 7,744 features for kernels of 11',
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=result_path)
    options = parser.parse_args()
    backend = keras.backend.backend()
    output = options.output or Path(f"outputs/scaling_{backend}.json")
    command = (
        f"python benchmarks/scaling.py --axes {' '.join(options.axes)} "
        f"--rounds {options.rounds} --largest {options.largest:g} "
        f"--presets {' '.join(options.presets)}"
    )
    records: list[dict[str, Any]] = []
    for axis in options.axes:
        for size in SIZES[axis]:
            if size > options.largest:
                continue
            keras.utils.clear_session()
            records += measure(axis, size, options.rounds, options.presets)
            write(output, QUESTION, command, records)
    plot(records).savefig(output.with_suffix(".png"), dpi=150)
    print(report(read(output)))
    slopes = output.with_name(f"{output.stem}_exponents.json")
    write(slopes, QUESTION, command, exponents(records))
    print(report(read(slopes)))


if __name__ == "__main__":
    main()

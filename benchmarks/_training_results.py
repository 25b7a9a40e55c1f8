"""Tables and curves of what the training scripts have logged."""

import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The logs are read as the examples write them.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from _experiment import BATCH
from _experiment import DECONV
from _experiment import file_name
from _experiment import text
from _records import read_epochs
from _runs import LOG
from _runs import RESULTS
from render import table

LINE_STYLES = ("-", "--", ":", "-.")
COLORS = {BATCH: "tab:blue", DECONV: "tab:orange"}
NAMES = {BATCH: "batch normalization", DECONV: "deconvolution"}
# Columns that make a line of their own for every value.
SHOWN = ("network", "norm", "preset", "learning rate")
NAMED = (
    *("backend", "precision", "distributed", "image size"),
    *("network arguments", "batch size", "weight decay"),
    *("num iterations", "epsilon"),
)
# Test accuracy with deconvolution in percent, by table, set and epochs, as far
# as we know it.
PAPER: Mapping[tuple[str, str, int], Mapping[str, float]] = {
    ("table 1", "cifar10", 1): {
        "vgg16": 74.18,
        "resnet18": 72.89,
        "preact_resnet18": 72.70,
        "mobilenet_v2": 65.40,
        "pnasnet_a": 64.19,
        "senet18": 67.21,
    },
    ("table 1", "cifar10", 20): {"vgg16": 93.25, "resnet18": 94.07},
}


def training_runs(experiment: str) -> Callable[[Path, Path], str | None]:
    """Returns how runs of the training scripts become tables and curves.

    What else is to be said of them goes below, from `table-1.md` for Table 1
    and so on, beside their logs.
    """

    def render(folder: Path, images: Path) -> str | None:
        runs = read_runs(folder, experiment)
        if runs.empty:
            return None
        parts = []
        for (dataset, epochs), group in runs.groupby(["dataset", "epochs"]):
            known = PAPER.get((experiment, dataset, epochs), {})
            parts += [
                f"**{dataset}, {epochs} epoch{'s' * (epochs > 1)}**\n",
                table(accuracy_rows(group, known)) + "\n",
                provenance(group) + "\n",
            ]
            if epochs > 1:
                parts += draw_all(group, folder, images)
        note = folder / f"{file_name(experiment)}.md"
        if note.is_file():
            parts.append(note.read_text("utf-8"))
        return "\n".join(parts)

    return render


def read_runs(folder: Path, experiment: str) -> pd.DataFrame:
    """Reads the whole runs of an experiment; those cut short do not count."""
    path = folder / RESULTS
    if not path.is_file():
        return pd.DataFrame()
    runs = pd.read_csv(path, dtype=str, keep_default_na=False)
    whole = (runs["experiment"] == experiment) & (runs["steps per epoch"] == "")
    runs = runs[whole]
    numbers = {
        "epochs": int,
        "seed": int,
        "batch size": int,
        "learning rate": float,
        "weight decay": float,
        "final test accuracy": float,
        "seconds": float,
    }
    if "final mean IoU" in runs:
        numbers["final mean IoU"] = float
    return runs.astype(numbers).sort_values("seed", kind="stable")


def accuracy_rows(
    runs: pd.DataFrame, paper: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Returns a line for every network and all that differs but the seed.

    What is the same in all runs has no column, if the command names it.
    """
    rows = []
    for values, group in runs.groupby([*SHOWN, *NAMED]):
        found = dict(zip([*SHOWN, *NAMED], values, strict=True))
        norm, preset = found["norm"], found["preset"]
        row = {
            "network": found["network"],
            "normalization": NAMES[norm] + (f', "{preset}"' if preset else ""),
            **{key: found[key] for key in NAMED if runs[key].nunique() > 1},
            "learning rate": found["learning rate"],
            "test accuracy": spread(group["final test accuracy"]),
        }
        if "final mean IoU" in group:
            row["mean IoU"] = spread(group["final mean IoU"])
        if paper:
            known = paper.get(found["network"]) if norm == DECONV else None
            row["paper"] = f"{known:.2f} %" if known else None
        row["seeds"] = len(group)
        if (runs["diverged"] == "yes").any():
            row["diverged"] = int((group["diverged"] == "yes").sum())
        row["minutes per run"] = group["seconds"].mean() / 60
        rows.append(row)
    return rows


def spread(values: pd.Series) -> str:
    """Writes shares as percent: their mean, and the range of several."""
    mean = f"{100 * values.mean():.2f} %"
    if len(values) == 1:
        return mean
    return f"{mean} ({100 * values.min():.2f} to {100 * values.max():.2f})"


def provenance(runs: pd.DataFrame) -> str:
    """Returns the commands of some runs, and the machines they ran on."""
    commands = "\n".join(join_commands(runs["command"]))
    machines = []
    for (device, versions), group in runs.groupby(
        ["device", "versions"], sort=False
    ):
        commits = group["commit"].replace("", "unknown").unique()
        first, last = group["date"].min()[:10], group["date"].max()[:10]
        period = first if first == last else f"{first} to {last}"
        machines.append(
            f"{device}; {versions}; commit{'s' * (len(commits) > 1)} "
            f"{', '.join(commits)}; {period}"
        )
    return f"```sh\n{commands}\n```\n\n" + "\n\n".join(machines)


def join_commands(commands: Iterable[str]) -> list[str]:
    """Joins commands that differ by networks and seeds alone.

    Networks that were run with other seeds than the rest have lines of their
    own, so that the lines make the runs that there are and no others.
    """
    seeds: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for command in dict.fromkeys(commands):
        rest, taken = take_options(command, ("--network", "--seeds"))
        key = (rest, taken["--network"])
        seeds.setdefault(key, []).append(taken["--seeds"])
    networks: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (rest, network), found in seeds.items():
        networks.setdefault((rest, tuple(found)), []).append(network)
    return [
        shlex.join(
            [*rest, *(["--network", *names] if names != [""] else [])]
            + (["--seeds", *found] if found != ("",) else [])
        )
        for (rest, found), names in networks.items()
    ]


def take_options(
    command: str, options: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Takes options of one value out of a command."""
    words, taken = shlex.split(command), dict.fromkeys(options, "")
    for option in options:
        if option in words:
            place = words.index(option)
            _, taken[option] = words[place : place + 2]
            del words[place : place + 2]
    return tuple(words), taken


def draw_all(runs: pd.DataFrame, folder: Path, images: Path) -> list[str]:
    """Draws the curves of every network; returns links to them.

    Those of runs whose log is lost are missing.
    """
    links = []
    runs = runs[[(folder / run / LOG).is_file() for run in runs["run"]]]
    for (network, dataset, epochs), group in runs.groupby(
        ["network", "dataset", "epochs"], sort=False
    ):
        experiment = group["experiment"].iloc[0]
        name = file_name(f"{experiment} {dataset} {network} {epochs}") + ".png"
        draw(group, folder, f"{network}, {dataset}").savefig(
            images / name, dpi=100
        )
        links.append(f"![{network}](images/{images.name}/{name})\n")
    return links


def draw(runs: pd.DataFrame, folder: Path, title: str) -> Figure:
    """Draws test accuracy and training loss, a mean over the seeds each."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    keys = [*SHOWN[1:], *NAMED]
    changing = [key for key in keys[2:] if runs[key].nunique() > 1]
    if changing:
        # So that a style stands for the same value with each normalization.
        runs = runs.sort_values(changing, kind="stable")
    drawn: Counter[str] = Counter()
    for values, group in runs.groupby(keys, sort=False):
        found = dict(zip(keys, values, strict=True))
        norm = found["norm"]
        logs = [read_epochs(folder / run / LOG) for run in group["run"]]
        length = min(len(log) for log in logs)
        if not length:
            continue
        label = " ".join(filter(None, (NAMES[norm], found["preset"])))
        label += "".join(f", {key} {text(found[key])}" for key in changing)
        # Runs of one normalization share a colour.
        style = LINE_STYLES[drawn[norm] % len(LINE_STYLES)]
        drawn[norm] += 1
        for ax, key in zip(axes, ("val_accuracy", "loss"), strict=True):
            curves = np.array(
                [[epoch[key] for epoch in log[:length]] for log in logs]
            )
            ax.plot(
                range(1, length + 1),
                curves.mean(axis=0),
                color=COLORS[norm],
                linestyle=style,
                label=label,
            )
    for ax, name in zip(axes, ("test accuracy", "training loss"), strict=True):
        ax.set(xlabel="epoch", ylabel=name)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=2)
    figure.suptitle(title)
    return figure

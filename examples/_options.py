"""Command-line options that the experiments share."""

import argparse
import math
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

from _datasets import SAMPLE


def make_parser(
    description: str | None, name: str, datasets: Sequence[str]
) -> argparse.ArgumentParser:
    """Describes a command line with data, seeds and an output folder.

    Args:
        description: Docstring of the script.
        name: Of the script; of the folder in `outputs`.
        datasets: Names of the sets that it takes, the default first.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--dataset",
        choices=datasets,
        default=datasets[0],
        help=f"(default: {datasets[0]})"
        + " sample: an embedded part of CIFAR-10" * (SAMPLE in datasets),
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="folder of NAME.npz; without it a full set is downloaded",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("outputs") / name,
        help=f"folder of the results (default: outputs/{name})",
    )
    return parser


def positive(kind: type) -> Callable[[str], float]:
    """Returns an argument type: a `kind` of number above zero."""

    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError(text)
        return value

    convert.__name__ = f"positive {kind.__name__}"
    return convert

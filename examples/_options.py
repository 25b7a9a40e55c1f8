"""Command-line options that examples share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from _datasets import SAMPLE


def data_parser(
    description: str | None, datasets: Sequence[str]
) -> argparse.ArgumentParser:
    """Describes a command line that names a data set.

    Args:
        description: Docstring of the script.
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
    return parser


def make_parser(
    description: str | None, name: str, datasets: Sequence[str]
) -> argparse.ArgumentParser:
    """Describes a command line with data and an output folder.

    Args:
        description: Docstring of the script.
        name: Of the script; of the folder in `outputs`.
        datasets: As in `data_parser`.
    """
    parser = data_parser(description, datasets)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("outputs") / name,
        help=f"folder of the results (default: outputs/{name})",
    )
    return parser

"""Command-line options that examples share."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from _datasets import SAMPLE

FOLDERS = ("--data-dir", "--output")


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


def command(name: str, arguments: Sequence[str] | None) -> str:
    """Returns the command of a run, in which folders are called DIR.

    Args:
        name: Of the script.
        arguments: What `main` was given: None for those of this process.
    """
    words = ["python", f"examples/{name}.py"]
    is_folder = False
    for word in sys.argv[1:] if arguments is None else arguments:
        option, equals, _ = word.partition("=")
        if option in FOLDERS and equals:
            word = f"{option}=DIR"
        words.append("DIR" if is_folder else word)
        is_folder = word in FOLDERS
    return shlex.join(words)

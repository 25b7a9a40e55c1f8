"""The command line that the examples of distributed training share."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from _datasets import NAMES
from _datasets import SAMPLE


def make_parser(description: str, checkpoint: str) -> argparse.ArgumentParser:
    """Describes what all of them take."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--dataset",
        choices=NAMES,
        default=SAMPLE,
        help="what to train on (default: an embedded part of CIFAR-10)",
    )
    add(
        "--data-dir",
        type=Path,
        help="folder of NAME.npz; without it a full set is downloaded",
    )
    add("--epochs", type=positive(float), default=2, help="may be a fraction")
    add("--steps", type=positive(int), help="steps, in place of --epochs")
    add("--seed", type=int, default=0)
    add(
        "--batch-size",
        type=positive(int),
        default=128,
        help="of all devices together",
    )
    add("--learning-rate", type=positive(float), default=0.1)
    add(
        "--widths",
        type=positive(int),
        nargs="+",
        default=(16, 32, 32),
        help="channels; each makes two convolutions and a pooling",
    )
    add(
        "--checkpoint",
        type=Path,
        default=Path("outputs") / checkpoint,
        help="where the model is kept, at the end too",
    )
    add(
        "--checkpoint-every",
        type=positive(int),
        default=10,
        help="steps between checkpoints",
    )
    add(
        "--resume",
        action="store_true",
        help="go on from the checkpoint, with the same options",
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

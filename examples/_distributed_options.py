"""The command line that the examples of distributed training share."""

import argparse
from pathlib import Path

from _arguments import positive
from _datasets import NAMES
from _options import data_parser


def make_parser(description: str, checkpoint: str) -> argparse.ArgumentParser:
    """Describes what all of them take."""
    parser = data_parser(description, NAMES)
    add = parser.add_argument
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

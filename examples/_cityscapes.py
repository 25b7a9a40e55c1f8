"""Cityscapes: pairs of a photograph and the class of each of its pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from _augment import mirror
from _augment import standardise_imagenet
from _batches import Batch
from _batches import MakeBatch

# What the files call the 19 classes that count, in their order from road to
# bicycle; all other pixels are ignored.
LABEL_IDS = (
    *(7, 8, 11, 12, 13, 17, 19, 20, 21, 22),
    *(23, 24, 25, 26, 27, 28, 31, 32, 33),
)
CLASSES = len(LABEL_IDS)
IGNORED = 255
SCALES = (0.5, 2.0)
# Images are as high as 520 pixels for a crop of 480, in training on average.
HEIGHT_OF_CROP = 520 / 480

_TRAIN_IDS = np.full(256, IGNORED, "uint8")
_TRAIN_IDS[list(LABEL_IDS)] = range(CLASSES)


class Pair(NamedTuple):
    """Files of a photograph and of its labels."""

    image: Path
    labels: Path


def find_pairs(data_dir: Path, split: str) -> list[Pair]:
    """Finds the files of a split.

    Args:
        data_dir: Holds leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and
            gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png.
        split: `"train"` or `"val"`.

    Raises:
        FileNotFoundError: There is no photograph, or one has no labels.
    """
    end = "_leftImg8bit.png"
    images = sorted((data_dir / "leftImg8bit" / split).glob(f"*/*{end}"))
    pairs = [
        Pair(
            image,
            data_dir.joinpath(
                "gtFine",
                split,
                image.parent.name,
                image.name.removesuffix(end) + "_gtFine_labelIds.png",
            ),
        )
        for image in images
    ]
    if not pairs:
        raise FileNotFoundError(
            f"The data folder must hold leftImg8bit/{split}/CITY/NAME{end}. "
            f"Received: {data_dir}"
        )
    missing = [pair.labels for pair in pairs if not pair.labels.is_file()]
    if missing:
        raise FileNotFoundError(
            f"Every photograph must have its labels. Received: no {missing[0]}"
        )
    return pairs


def train_ids(label_ids: np.ndarray) -> np.ndarray:
    """Numbers the classes that count from 0 to 18; others become 255."""
    return _TRAIN_IDS[label_ids]


def training_batch(pairs: Sequence[Pair], crop: int) -> MakeBatch:
    """Returns how batches of random crops are made."""

    def make(picks: np.ndarray, rng: np.random.Generator) -> Batch:
        return _stack(
            [random_crop(*_open(pairs[index]), crop, rng) for index in picks]
        )

    return make


def evaluation_batch(pairs: Sequence[Pair], crop: int) -> MakeBatch:
    """Returns how batches of squares are made: see `squares`.

    A pick is a pair; it makes as many samples as squares fit into it.
    """

    def make(picks: np.ndarray, rng: np.random.Generator) -> Batch:
        return _stack(
            [
                square
                for index in picks
                for square in squares(*_open(pairs[index]), crop)
            ]
        )

    return make


def random_crop(
    image: Image.Image,
    labels: Image.Image,
    size: int,
    rng: np.random.Generator,
) -> Batch:
    """Scales by 0.5 to 2, mirrors every second image and crops a square.

    Returns:
        Pixels (size, size, 3) and train ids (size, size). Where the scaled
        image is too small, it is filled up with black and with pixels to be
        ignored.
    """
    short = round(size * HEIGHT_OF_CROP * rng.uniform(*SCALES))
    image, labels = _resize(image, labels, short)
    if rng.random() < 0.5:
        image, labels = mirror(image), mirror(labels)
    left, top = (
        int(rng.integers(0, max(length - size, 0) + 1)) for length in image.size
    )
    part = (slice(top, top + size), slice(left, left + size))
    found = np.asarray(image)[part]
    height, width, _ = found.shape
    pixels = np.zeros((size, size, 3), "uint8")
    ids = np.full((size, size), IGNORED, "uint8")
    pixels[:height, :width] = found
    ids[:height, :width] = train_ids(np.asarray(labels)[part])
    return pixels, ids


def squares(image: Image.Image, labels: Image.Image, size: int) -> list[Batch]:
    """Scales an image to a height of `size`, and cuts it into squares.

    The images of Cityscapes are twice as wide as high: nothing is left over.
    """
    image, labels = _resize(image, labels, size)
    pixels, ids = np.asarray(image), train_ids(np.asarray(labels))
    return [
        (pixels[:, left : left + size], ids[:, left : left + size])
        for left in range(0, image.width - size + 1, size)
    ]


def _open(pair: Pair) -> tuple[Image.Image, Image.Image]:
    return Image.open(pair.image).convert("RGB"), Image.open(pair.labels)


def _resize(
    image: Image.Image, labels: Image.Image, short: int
) -> tuple[Image.Image, Image.Image]:
    """Gives the shorter side a length. Labels are never mixed."""
    scale = short / min(image.size)
    width, height = (round(length * scale) for length in image.size)
    return (
        image.resize((width, height), Image.Resampling.BILINEAR),
        labels.resize((width, height), Image.Resampling.NEAREST),
    )


def _stack(samples: Sequence[Batch]) -> Batch:
    pixels, ids = zip(*samples, strict=True)
    return standardise_imagenet(np.stack(pixels)), np.stack(ids).astype("int32")

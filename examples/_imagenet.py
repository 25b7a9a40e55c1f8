"""Labelled images on disk: folders of classes, or shards of many images."""

import io
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import _shards
import _tfrecords
from _augment import random_resized_crop
from _augment import resize_and_crop
from _augment import standardise_imagenet
from _batches import Batch
from _batches import MakeBatch


@dataclass(frozen=True)
class Images:
    """Where the images of a split lie, and what they show.

    Attributes:
        paths: The file of each image, or the shard that it is in.
        offsets: Where it begins in the file, in bytes.
        sizes: How many bytes it has; None for all of the file.
        labels: Classes, counted from zero.
        names: Of the classes, where folders name them.
    """

    paths: Sequence[str]
    offsets: Sequence[int]
    sizes: Sequence[int | None]
    labels: np.ndarray
    names: Sequence[str] = ()

    def read(self, index: int) -> Image.Image:
        """Decodes an image; safe in several threads.

        Raises:
            ValueError: It is damaged, or no image.
        """
        path, offset = self.paths[index], self.offsets[index]
        size = self.sizes[index]
        with open(path, "rb") as file:
            file.seek(offset)
            content = file.read(-1 if size is None else size)
        try:
            image: Image.Image = Image.open(io.BytesIO(content))
            if image.mode.startswith("I;16"):
                pixels = np.asarray(image) >> 8
                image = Image.fromarray(pixels.astype("uint8"))
            return image.convert("RGB")
        except OSError as error:
            raise ValueError(
                "Each image must be a whole image file. "
                f"Received: {path}, from byte {offset} on: {error}"
            ) from error


def find_images(data_dir: Path, split: str) -> Images:
    """Finds the images of a split.

    Args:
        data_dir: Holds SPLIT/CLASS/NAME.JPEG, the classes in the order of
            their names; or shards, as webdataset writes them (`_shards.py`)
            or as TFRecords (`_tfrecords.py`).
        split: `"train"` or `"val"`.

    Raises:
        FileNotFoundError: There is none of them.
        ValueError: A shard is damaged, or an image in it has no class.
    """
    folder = data_dir / split
    images = _in_folders(folder) if folder.is_dir() else None
    if images is not None and images.paths:
        # Archives that it was extracted from may lie beside it.
        return images
    for kind in (_shards, _tfrecords):
        if shards := kind.find_shards(data_dir, split):
            return _in_shards(shards, kind.members)
    raise FileNotFoundError(
        f"The data folder must hold {split}/CLASS/NAME.JPEG, or shards: "
        f"{split}/*.tar, *{split}*.tar, {split}/*.tfrecord*, "
        f"*{split}*.tfrecord* or {split}*-of-*. Received: {data_dir}"
    )


def check_classes(train: Images, test: Images) -> None:
    """Raises ValueError if labels mean something else in the other split."""
    if train.names != test.names:
        differing = sorted({*train.names} ^ {*test.names})
        raise ValueError(
            "Both splits must have the same folders of classes. Received: "
            f"{', '.join(differing[:3])} in one of them alone"
        )
    if test.labels.max() > train.labels.max():
        raise ValueError(
            "All classes must be in the training set. Received: "
            f"{test.labels.max()} in the test set, up to "
            f"{train.labels.max()} in the training set"
        )


def training_batch(images: Images, size: int) -> MakeBatch:
    """Returns how batches of random crops are made."""

    def make(picks: np.ndarray, rng: np.random.Generator) -> Batch:
        crops = [
            random_resized_crop(images.read(index), size, rng)
            for index in picks
        ]
        return _stack(crops), images.labels[picks]

    return make


def evaluation_batch(images: Images, size: int) -> MakeBatch:
    """Returns how batches of centre crops are made."""

    def make(picks: np.ndarray, rng: np.random.Generator) -> Batch:
        crops = [resize_and_crop(images.read(index), size) for index in picks]
        return _stack(crops), images.labels[picks]

    return make


def _stack(crops: Sequence[Image.Image]) -> np.ndarray:
    return standardise_imagenet(np.stack([np.asarray(crop) for crop in crops]))


def _in_folders(folder: Path) -> Images:
    """Lists the images in folders of classes."""
    names = sorted(
        each.name
        for each in os.scandir(folder)
        if each.is_dir() and not each.name.startswith(".")
    )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = [
            os.path.join(folder, name, file)
            for file in sorted(os.listdir(folder / name))
            if file.lower().endswith(_shards.IMAGE_SUFFIXES)
            and not file.startswith(".")
        ]
        paths += found
        labels += [label] * len(found)
    return Images(
        paths,
        [0] * len(paths),
        [None] * len(paths),
        np.array(labels, "int32"),
        names,
    )


def _in_shards(
    shards: Sequence[Path], members: Callable[[Path], Iterable[_shards.Member]]
) -> Images:
    """Lists what is in shards; their images are read when they are needed.

    So images of all shards mix in a batch, as those in folders do.
    """
    found = [(str(shard), *each) for shard in shards for each in members(shard)]
    if not found:
        raise ValueError(
            f"Shards must hold images. Received: {shards[0]}, empty"
        )
    paths, offsets, sizes, labels = zip(*found, strict=True)
    return Images(paths, offsets, sizes, np.array(labels, "int32"))

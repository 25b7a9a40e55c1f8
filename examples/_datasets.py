"""Image data sets of the examples, as standardised arrays."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SAMPLE = "sample"
SAMPLE_SHEET = Path(__file__).parent / "data" / "cifar10_sample.webp"
SAMPLE_SIDE = 32
SAMPLE_TRAIN_PER_CLASS = 300
SAMPLE_TEST_PER_CLASS = 100

FULL_SETS = ("cifar10", "cifar100", "fashion_mnist", "mnist")
NAMES = (SAMPLE, *FULL_SETS)
KEYS = ("x_train", "y_train", "x_test", "y_test")
# Of every set but CIFAR-100; `Dataset.classes` knows that of any.
CLASSES = 10


class Dataset(NamedTuple):
    """Images (N, H, W, C) and integer labels (N,), to train and to test."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def classes(self) -> int:
        """How many classes the training labels name."""
        return int(self.y_train.max()) + 1


def load(name: str = SAMPLE, data_dir: Path | None = None) -> Dataset:
    """Loads a data set with standardised channels.

    Arguments and errors are those of `load_raw`.
    """
    return standardise(load_raw(name, data_dir))


def load_raw(name: str = SAMPLE, data_dir: Path | None = None) -> Dataset:
    """Loads a data set as it is: mostly images of bytes, labels as stored.

    Args:
        name: `sample` for the part of CIFAR-10 that lies beside the examples,
            or the name of a full set.
        data_dir: folder of NAME.npz; without it, `keras.datasets` downloads
            the full set.

    Raises:
        ValueError: the name is unknown or the arrays break a rule.
        FileNotFoundError: `data_dir` has no NAME.npz.
    """
    if name == SAMPLE:
        if data_dir is not None:
            raise ValueError("the sample is embedded and reads no data folder")
        return _read_sample()
    if name not in FULL_SETS:
        raise ValueError(
            f"the data set must be one of {', '.join(NAMES)}; got {name!r}"
        )
    if data_dir is None:
        return _download(name)
    return _read_archive(Path(data_dir) / f"{name}.npz")


def standardise(raw: Dataset) -> Dataset:
    """Gives every channel mean 0 and deviation 1 over the training images."""
    train, test = (_with_channels(x) for x in (raw.x_train, raw.x_test))
    mean, deviation = channel_moments(train)
    scale = 1 / deviation
    return Dataset(
        ((train - mean) * scale).astype(np.float32),
        raw.y_train.reshape(-1).astype(np.int32),
        ((test - mean) * scale).astype(np.float32),
        raw.y_test.reshape(-1).astype(np.int32),
    )


def channel_moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation (C,) of images (N, H, W, C).

    A constant channel has a deviation just above zero, to divide by.
    """
    mean = images.mean(axis=(0, 1, 2), dtype=np.float64)
    deviation = images.std(axis=(0, 1, 2), dtype=np.float64)
    return mean, np.maximum(deviation, 1e-6)


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images if images.ndim == 4 else images[..., np.newaxis]


def _read_sample() -> Dataset:
    with Image.open(SAMPLE_SHEET) as sheet:
        pixels = np.asarray(sheet)
    columns = pixels.shape[1] // SAMPLE_SIDE
    grid = pixels.reshape(-1, SAMPLE_SIDE, columns, SAMPLE_SIDE, 3)
    images = grid.transpose(0, 2, 1, 3, 4).reshape(
        -1, SAMPLE_SIDE, SAMPLE_SIDE, 3
    )
    train_count = CLASSES * SAMPLE_TRAIN_PER_CLASS
    classes = np.arange(CLASSES)
    return Dataset(
        images[:train_count],
        np.repeat(classes, SAMPLE_TRAIN_PER_CLASS),
        images[train_count:],
        np.repeat(classes, SAMPLE_TEST_PER_CLASS),
    )


def _read_archive(path: Path) -> Dataset:
    if not path.is_file():
        found = sorted(entry.name for entry in path.parent.glob("*.npz"))
        raise FileNotFoundError(
            f"the data folder {path.parent} must hold {path.name}; "
            f"found {', '.join(found) or 'no .npz file'}"
        )
    try:
        with path.open("rb") as file, np.load(file) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise ValueError(
                    f"{path} must hold the arrays {', '.join(KEYS)}; missing "
                    f"{', '.join(missing)}, found {', '.join(archive.files)}"
                )
            raw = Dataset(*(archive[key] for key in KEYS))
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} must be a whole archive; {error}") from error
    _check(raw, path)
    return raw


def _check(raw: Dataset, path: Path) -> None:
    for split, images, labels in (
        ("train", raw.x_train, raw.y_train),
        ("test", raw.x_test, raw.y_test),
    ):
        if images.ndim not in (3, 4):
            raise ValueError(
                f"x_{split} in {path} must be (N, H, W) or (N, H, W, C); "
                f"found {images.shape}"
            )
        if images.ndim == 4 and images.shape[-1] not in (1, 3):
            raise ValueError(
                f"x_{split} in {path} must have 1 or 3 channels, which come "
                f"last; found {images.shape}"
            )
        if labels.size != len(images):
            raise ValueError(
                f"y_{split} in {path} must hold one label an image; "
                f"found {labels.size} labels for {len(images)} images"
            )

    if raw.x_train.shape[1:] != raw.x_test.shape[1:]:
        raise ValueError(
            f"x_train and x_test in {path} must have images of one shape; "
            f"found {raw.x_train.shape[1:]} and {raw.x_test.shape[1:]}"
        )
    classes = range(raw.classes)
    if not all(label in classes for label in np.unique(raw.y_test).tolist()):
        raise ValueError(
            f"y_test in {path} must hold classes of y_train, 0 to "
            f"{classes[-1]}; found {raw.y_test.min()} to {raw.y_test.max()}"
        )


def _download(name: str) -> Dataset:
    import keras

    try:
        train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises no class of its own.
        raise OSError(
            f"{name} could not be downloaded; --data-dir takes a folder of "
            f"{name}.npz: {error}"
        ) from error
    return Dataset(*train, *test)

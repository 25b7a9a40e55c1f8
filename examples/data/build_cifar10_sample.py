"""Build the class-balanced CIFAR-10 sample that the examples train on.

    python examples/data/build_cifar10_sample.py --data-dir DIR

DIR holds cifar10.npz: x_train, y_train, x_test, y_test, as arrays of bytes.
Without --data-dir, keras.datasets downloads CIFAR-10.

The sheet has 40 rows of 100 pictures, 32 by 32 pixels each, and needs no
label file: three rows of training pictures for each class, classes in order
from 0 to 9, then one row of test pictures for each class.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = 100
CLASSES = 10
TRAIN_PER_CLASS = 300
TEST_PER_CLASS = 100
SEED = 0
DEFAULT_OUTPUT = Path(__file__).with_name("cifar10_sample.webp")


def load_cifar10(data_dir: Path | None) -> dict[str, np.ndarray]:
    """Reads the full data set from `data_dir`, or downloads it."""
    if data_dir is not None:
        with np.load(data_dir / "cifar10.npz") as archive:
            return dict(archive)
    from keras.datasets import cifar10

    (x_train, y_train), (x_test, y_test) = cifar10.load_data()
    return {
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
    }


def pick_per_class(
    images: np.ndarray,
    labels: np.ndarray,
    count: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Picks `count` random images of every class, classes in order."""
    picks = [
        generator.choice(np.flatnonzero(labels == label), count, replace=False)
        for label in range(CLASSES)
    ]
    return images[np.concatenate(picks)]


def tile(images: np.ndarray) -> np.ndarray:
    """Lays images (N, H, W, C) out on one sheet of `COLUMNS` columns."""
    _, height, width, channels = images.shape
    grid = images.reshape(-1, COLUMNS, height, width, channels)
    rows = grid.transpose(0, 2, 1, 3, 4)
    return rows.reshape(-1, COLUMNS * width, channels)


def save_lossless(sheet: np.ndarray, path: Path) -> None:
    """Writes the sheet as WebP and makes sure that no pixel has changed."""
    image = Image.fromarray(sheet)
    image.save(path, lossless=True, quality=100, method=6)
    with Image.open(path) as decoded:
        if not np.array_equal(np.asarray(decoded), sheet):
            raise RuntimeError(f"{path} decodes to other pixels than written")


def main() -> None:
    """Builds the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    arguments = parser.parse_args()
    data = load_cifar10(arguments.data_dir)
    generator = np.random.default_rng(SEED)
    parts = [
        pick_per_class(
            data[f"x_{split}"], data[f"y_{split}"].ravel(), count, generator
        )
        for split, count in (
            ("train", TRAIN_PER_CLASS),
            ("test", TEST_PER_CLASS),
        )
    ]
    save_lossless(tile(np.concatenate(parts)), arguments.output)
    size = arguments.output.stat().st_size / 1e6
    print(f"wrote {arguments.output} ({size:.2f} MB)")


if __name__ == "__main__":
    main()

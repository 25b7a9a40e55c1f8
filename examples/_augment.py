"""What is done to images before a network sees them, in NumPy and Pillow."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

# Of the images of ImageNet between 0 and 1, as torchvision has them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
AREAS = (0.08, 1.0)
RATIOS = (3 / 4, 4 / 3)
ATTEMPTS = 10


def flip_and_crop(
    images: np.ndarray, rng: np.random.Generator, padding: int = 4
) -> np.ndarray:
    """Mirrors every second image and shifts each, by up to `padding` pixels.

    Args:
        images: (n, H, W, C).
        rng: Says which and how far.
        padding: Zeros on each side, out of which H x W is cropped.

    Returns:
        (n, H, W, C), with a copy of the pixels.
    """
    count, height, width, _ = images.shape
    sides = (padding, padding)
    padded = np.pad(images, ((0, 0), sides, sides, (0, 0)))
    windows = sliding_window_view(padded, (height, width), axis=(1, 2))
    top, left = rng.integers(0, 2 * padding + 1, (2, count))
    crops = windows[np.arange(count), top, left].transpose(0, 2, 3, 1)
    is_flipped = rng.random(count) < 0.5
    crops[is_flipped] = crops[is_flipped, :, ::-1]
    return np.ascontiguousarray(crops)


def standardise(
    images: np.ndarray, mean: np.ndarray, deviation: np.ndarray
) -> np.ndarray:
    """Returns (images - mean) / deviation in float32, channel by channel."""
    scale = (1 / np.asarray(deviation)).astype("float32")
    offset = (np.asarray(mean) / deviation).astype("float32")
    return images.astype("float32") * scale - offset


def standardise_imagenet(images: np.ndarray) -> np.ndarray:
    """Standardises bytes (..., 3) by the moments of ImageNet."""
    return standardise(
        images,
        255 * np.array(IMAGENET_MEAN),
        255 * np.array(IMAGENET_DEVIATION),
    )


def random_resized_crop(
    image: Image.Image, size: int, rng: np.random.Generator
) -> Image.Image:
    """Crops a random part, resizes it to a square and mirrors every second.

    The part has 8 to 100 % of the area and sides in a ratio of 3:4 to 4:3,
    as in torchvision; if none fits in ten attempts, it is the largest in the
    centre that has such a ratio.
    """
    box = _random_box(*image.size, rng)
    crop = image.resize((size, size), Image.Resampling.BILINEAR, box)
    return mirror(crop) if rng.random() < 0.5 else crop


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Crops the square centre of an image, of 224 out of 256 pixels."""
    side = min(image.size) * 224 / 256
    left, top = ((length - side) / 2 for length in image.size)
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box)


def mirror(image: Image.Image) -> Image.Image:
    """Swaps left and right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _random_box(
    width: int, height: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Returns left, top, right and bottom of a random part of an image."""
    low, high = map(math.log, RATIOS)
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(*AREAS)
        ratio = math.exp(rng.uniform(low, high))
        w, h = (round(math.sqrt(area * r)) for r in (ratio, 1 / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(0, width - w + 1))
            top = int(rng.integers(0, height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * RATIOS[1]))
    h = min(height, round(width / RATIOS[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h

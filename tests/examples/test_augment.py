import importlib

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def augment():
    return importlib.import_module("_augment")


def test_flip_and_crop_gives_every_window(augment, rng):
    images = rng.integers(1, 256, (1, 3, 4, 2), np.uint8)
    padded = np.zeros((5, 6, 2), np.uint8)
    padded[1:-1, 1:-1] = images[0]
    windows = [
        padded[top : top + 3, left : left + 4][:, ::step]
        for top in range(3)
        for left in range(3)
        for step in (1, -1)
    ]
    found = augment.flip_and_crop(images.repeat(400, 0), rng, padding=1)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    counts = [(found == window).all(axis=(1, 2, 3)).sum() for window in windows]
    # Each of 18 windows comes about 22 times out of 400, and nothing else.
    assert sum(counts) == 400
    assert min(counts) > 5


def test_flip_and_crop_leaves_the_images(augment, rng):
    images = rng.integers(0, 256, (8, 4, 4, 3), np.uint8)
    before = images.copy()
    augment.flip_and_crop(images, rng)
    np.testing.assert_array_equal(images, before)


def test_standardise(augment, rng):
    images = rng.integers(0, 256, (5, 4, 4, 3), np.uint8)
    mean, deviation = np.array([100.0, 120, 90]), np.array([50.0, 60, 70])
    found = augment.standardise(images, mean, deviation)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, (images - mean) / deviation, rtol=0, atol=1e-5
    )


def test_imagenet_moments(augment):
    # 0.485 of full red, and one deviation more.
    pixels = np.array([[0.485, 0.456, 0.406], [0.714, 0.68, 0.631]]) * 255
    found = augment.standardise_imagenet(pixels)
    np.testing.assert_allclose(found, [[0, 0, 0], [1, 1, 1]], atol=1e-5)


def gradient(width, height):
    """Each pixel says where it was: red its column, green its row."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(100, 60), (60, 100)])
def test_centre_crop(augment, size):
    crop = np.asarray(augment.resize_and_crop(gradient(*size), 56)).astype(int)
    assert crop.shape == (56, 56, 3)
    # 56 of 64 pixels of the shorter side, of the middle of the other.
    for axis, length in enumerate(size):
        side = 60 * 224 / 256
        values = crop[..., axis].mean(axis=axis)
        assert abs(values[0] - (length - side) / 2) < 1.5
        assert abs(values[-1] - (length + side) / 2) < 1.5


def test_random_resized_crop(augment, rng):
    image = gradient(200, 120)
    areas, flips = [], 0
    for _ in range(200):
        crop = np.asarray(augment.random_resized_crop(image, 16, rng))
        assert crop.shape == (16, 16, 3)
        red, green = crop[..., 0].astype(int), crop[..., 1].astype(int)
        flips += red[0, 0] > red[0, -1]
        width = np.ptp(red) * 16 / 15
        height = np.ptp(green) * 16 / 15
        areas.append(width * height / (200 * 120))
        assert 0.6 < width / height < 1.7  # Within rounding of 3:4 to 4:3.
    assert 70 < flips < 130
    assert 0.06 < min(areas) < 0.2
    assert 0.7 < max(areas) < 1.05


def test_image_too_long_for_any_ratio(augment, rng):
    crop = augment.random_resized_crop(gradient(200, 2), 8, rng)
    assert crop.size == (8, 8)

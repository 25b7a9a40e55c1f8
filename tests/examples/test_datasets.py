import argparse
import importlib

import numpy as np
import pytest


@pytest.fixture
def datasets():
    return importlib.import_module("_datasets")


@pytest.fixture
def write_archive(tmp_path, rng):
    """Returns a function that writes mnist.npz; arguments replace arrays."""

    def write(*dropped, **replaced):
        arrays = {
            "x_train": rng.integers(0, 256, (12, 8, 8), np.uint8),
            "y_train": rng.integers(0, 10, (12, 1), np.uint8),
            "x_test": rng.integers(0, 256, (6, 8, 8), np.uint8),
            "y_test": rng.integers(0, 10, 6, np.uint8),
            **replaced,
        }
        for name in dropped:
            del arrays[name]
        np.savez(tmp_path / "mnist.npz", **arrays)
        return arrays

    return write


def test_sample_is_balanced(datasets):
    data = datasets.load()
    assert data.x_train.shape == (3000, 32, 32, 3)
    assert data.x_test.shape == (1000, 32, 32, 3)
    assert np.bincount(data.y_train).tolist() == [300] * 10
    assert np.bincount(data.y_test).tolist() == [100] * 10


def test_sample_labels_follow_the_images(datasets):
    data = datasets.load()
    blue = data.x_train[..., 2].mean(axis=(1, 2))
    by_class = [blue[data.y_train == label].mean() for label in range(10)]
    # Airplanes (0) and ships (8) have sky and sea around them.
    assert set(np.argsort(by_class)[-2:]) == {0, 8}


def test_sample_images_are_distinct(datasets):
    data = datasets.load()
    images = np.concatenate([data.x_train, data.x_test])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 4000


def test_sample_reads_no_folder(datasets, tmp_path):
    with pytest.raises(ValueError, match="embedded"):
        datasets.load("sample", tmp_path)


def test_archive_is_standardised(datasets, write_archive, tmp_path):
    arrays = write_archive()
    data = datasets.load("mnist", tmp_path)
    assert data.x_train.shape == (12, 8, 8, 1)
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    np.testing.assert_allclose(data.x_train.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(data.x_train.std(), 1, atol=1e-6)
    train = arrays["x_train"].astype(float)
    expected = (arrays["x_test"] - train.mean()) / train.std()
    np.testing.assert_allclose(data.x_test[..., 0], expected, atol=1e-5)


def test_archive_labels_are_flat_integers(datasets, write_archive, tmp_path):
    arrays = write_archive()
    data = datasets.load("mnist", tmp_path)
    assert np.issubdtype(data.y_train.dtype, np.integer)
    np.testing.assert_array_equal(data.y_train, arrays["y_train"][:, 0])
    np.testing.assert_array_equal(data.y_test, arrays["y_test"])


def test_constant_channel_stays_finite(datasets, write_archive, tmp_path):
    write_archive(x_train=np.full((12, 8, 8), 7, np.uint8))
    data = datasets.load("mnist", tmp_path)
    assert np.isfinite(data.x_train).all()
    assert np.isfinite(data.x_test).all()


def test_unknown_name(datasets):
    with pytest.raises(ValueError, match=r"one of sample, cifar10.*'cifar'"):
        datasets.load("cifar")


def test_missing_archive(datasets, write_archive, tmp_path):
    write_archive()
    with pytest.raises(FileNotFoundError, match=r"cifar10\.npz.*mnist\.npz"):
        datasets.load("cifar10", tmp_path)


def test_missing_array(datasets, write_archive, tmp_path):
    write_archive("y_test")
    with pytest.raises(ValueError, match=r"missing y_test, found x_train"):
        datasets.load("mnist", tmp_path)


def test_images_of_wrong_rank(datasets, write_archive, tmp_path):
    write_archive(x_test=np.zeros((6, 64), np.uint8))
    with pytest.raises(ValueError, match=r"x_test.*found \(6, 64\)"):
        datasets.load("mnist", tmp_path)


def test_labels_of_wrong_number(datasets, write_archive, tmp_path):
    write_archive(y_train=np.zeros(11, np.uint8))
    with pytest.raises(ValueError, match="11 labels for 12 images"):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": np.zeros((4, 3, 8, 8))}, "1 or 3 channels"),
        ({"x_test": np.zeros((2, 9, 8, 3))}, "images of one shape"),
        ({"y_test": np.array([0, 7])}, "classes of y_train, 0 to 1; found 0"),
    ],
)
def test_arrays_that_do_not_fit(datasets, tmp_path, change, message):
    arrays = {
        "x_train": np.zeros((4, 8, 8, 3)),
        "y_train": np.array([0, 1, 0, 1]),
        "x_test": np.zeros((2, 8, 8, 3)),
        "y_test": np.array([0, 1]),
    }
    np.savez(tmp_path / "cifar10.npz", **arrays | change)
    with pytest.raises(ValueError, match=message):
        datasets.load("cifar10", tmp_path)


def test_distributed_examples_have_an_output_for_each_class(datasets):
    distributed = importlib.import_module("_distributed")
    options = argparse.Namespace(
        resume=False,
        seed=0,
        widths=(2,),
        batch_size=4,
        steps=1,
        learning_rate=0.1,
    )
    images, labels = np.zeros((8, 8, 8, 3), "float32"), np.arange(8)
    data = datasets.Dataset(images, 2 * labels, images, labels)
    model = distributed.make_model(options, data)
    assert model.output_shape == (None, 15)


def test_damaged_archive(datasets, tmp_path):
    np.savez(tmp_path / "cifar10.npz", x_train=np.zeros((9, 8, 8, 3)))
    content = (tmp_path / "cifar10.npz").read_bytes()
    (tmp_path / "cifar10.npz").write_bytes(content[:200])
    with pytest.raises(ValueError, match="must be a whole archive"):
        datasets.load("cifar10", tmp_path)


def test_download_that_fails(datasets, monkeypatch):
    def fail():
        raise Exception("URL fetch failure")

    monkeypatch.setattr("keras.datasets.cifar10.load_data", fail)
    with pytest.raises(OSError, match=r"--data-dir.*URL fetch failure"):
        datasets.load("cifar10")

import csv
import importlib

import keras
import numpy as np
import pytest
from PIL import Image

# From the benchmark's own table: id of the label, name, number in training.
TRAIN_IDS = {
    7: 0,  # road
    8: 1,  # sidewalk
    11: 2,  # building
    12: 3,  # wall
    13: 4,  # fence
    17: 5,  # pole
    19: 6,  # traffic light
    20: 7,  # traffic sign
    21: 8,  # vegetation
    22: 9,  # terrain
    23: 10,  # sky
    24: 11,  # person
    25: 12,  # rider
    26: 13,  # car
    27: 14,  # truck
    28: 15,  # bus
    31: 16,  # train
    32: 17,  # motorcycle
    33: 18,  # bicycle
}


@pytest.fixture
def cityscapes():
    return importlib.import_module("_cityscapes")


@pytest.fixture
def script():
    return importlib.import_module("train_cityscapes")


def scene(rng, width=64, height=32):
    """A photograph whose red is its label, in tiles of 8 x 8."""
    tiles = rng.choice([0, *TRAIN_IDS], (height // 8, width // 8))
    labels = tiles.repeat(8, 0).repeat(8, 1).astype(np.uint8)
    pixels = np.stack([labels * 7, labels, labels], axis=-1)
    return Image.fromarray(pixels), Image.fromarray(labels)


@pytest.fixture
def folder(tmp_path, rng):
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            image, labels = scene(rng)
            for kind, end, file in (
                ("leftImg8bit", "leftImg8bit", image),
                ("gtFine", "gtFine_labelIds", labels),
            ):
                path = tmp_path / kind / split / f"city{index % 2}"
                path.mkdir(parents=True, exist_ok=True)
                file.save(path / f"city{index % 2}_{index:06}_{end}.png")
    return tmp_path


def test_train_ids(cityscapes):
    ids = np.arange(256, dtype=np.uint8)
    expected = [TRAIN_IDS.get(index, 255) for index in range(256)]
    assert cityscapes.train_ids(ids).tolist() == expected


def test_pairs(cityscapes, folder):
    pairs = cityscapes.find_pairs(folder, "train")
    assert len(pairs) == 4
    for image, labels in pairs:
        red = np.asarray(Image.open(image))[..., 0]
        np.testing.assert_array_equal(red, np.asarray(Image.open(labels)) * 7)


def test_photograph_without_labels(cityscapes, folder):
    path = next((folder / "gtFine" / "val").glob("*/*"))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        cityscapes.find_pairs(folder, "val")
    with pytest.raises(FileNotFoundError, match="leftImg8bit/test/CITY"):
        cityscapes.find_pairs(folder, "test")


def agreement(cityscapes, pixels, ids):
    """The share of pixels whose red stands for their class."""
    labels = np.rint(pixels[..., 0] / 7).astype(np.uint8)
    return np.mean(cityscapes.train_ids(labels) == ids)


def test_crops_of_photograph_and_labels_are_the_same(cityscapes, rng):
    image, labels = scene(rng, 128, 64)
    filled = 0
    for _ in range(40):
        pixels, ids = cityscapes.random_crop(image, labels, 48, rng)
        assert pixels.shape == (48, 48, 3)
        assert ids.shape == (48, 48)
        is_filled = (pixels == 0).all(axis=-1) & (ids == 255)
        filled += is_filled[-1].all()
        # Only the borders of tiles are mixed when the image is scaled.
        assert agreement(cityscapes, pixels, ids) > 0.6
    # A scale below 48 / 52 is one in about four.
    assert 0 < filled < 30


def test_squares(cityscapes, rng):
    image, labels = scene(rng, 128, 64)
    (left, left_ids), (right, right_ids) = cityscapes.squares(image, labels, 64)
    np.testing.assert_array_equal(
        np.concatenate([left, right], axis=1), np.asarray(image)
    )
    np.testing.assert_array_equal(
        np.concatenate([left_ids, right_ids], axis=1),
        cityscapes.train_ids(np.asarray(labels)),
    )


def test_batches(cityscapes, folder, rng):
    pairs = cityscapes.find_pairs(folder, "train")
    x, y = cityscapes.training_batch(pairs, 16)(np.array([2, 0]), rng)
    assert (x.shape, y.shape) == ((2, 16, 16, 3), (2, 16, 16))
    x, y = cityscapes.evaluation_batch(pairs, 16)(np.array([2, 0]), rng)
    assert (x.shape, y.shape) == ((4, 16, 16, 3), (4, 16, 16))
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    assert set(np.unique(y)) <= {*range(19), 255}


@pytest.fixture
def predictions(rng):
    """Logits and labels; class 3 is nowhere, class 4 never predicted."""
    labels = rng.choice([*range(3), *range(4, 19), 255], (2, 6, 5))
    logits = rng.normal(size=(2, 6, 5, 19)).astype("float32")
    logits[..., [3, 4]] = -50
    logits[0, :3] += 5 * np.eye(19)[np.minimum(labels[0, :3], 18)]
    return labels.astype("int32"), logits


# The metric counts in int64, which JAX cuts to int32.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")
def test_mean_iou(script, predictions):
    labels, logits = predictions
    guess = logits.argmax(-1)
    counted = labels != 255
    ious = []
    for index in range(19):
        here, there = (labels == index) & counted, (guess == index) & counted
        if (here | there).any():
            ious.append((here & there).sum() / (here | there).sum())
    assert len(ious) == 18
    _, metric = script.make_metrics()
    for part in (slice(0, 1), slice(1, 2)):
        metric.update_state(labels[part], logits[part])
    assert float(metric.result()) == pytest.approx(np.mean(ious), rel=1e-5)


def test_pixel_accuracy(script, predictions):
    labels, logits = predictions
    counted = labels != 255
    expected = (logits.argmax(-1) == labels)[counted].mean()
    metric, _ = script.make_metrics()
    for part in (slice(0, 1), slice(1, 2)):
        metric.update_state(labels[part], logits[part])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_loss(script, predictions):
    labels, logits = predictions
    counted = labels != 255
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares = shares / shares.sum(-1, keepdims=True)
    safe = np.where(counted, labels, 0)
    picked = np.take_along_axis(shares, safe[..., None], -1)[..., 0]
    expected = -np.log(np.maximum(picked, 1e-30))[counted].mean()
    found = script.make_loss()(labels, logits)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def tiny(num_classes, input_shape):
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(num_classes, 1, name="head")(x)
    return keras.Model(inputs, x)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="a smoke test on one backend; others run other examples",
)
def test_train_cityscapes(script, folder, monkeypatch):
    monkeypatch.setattr(script.models, "deeplabv3_resnet50", tiny)
    output = folder / "results"
    script.main(
        [
            *("--data-dir", str(folder), "--output", str(output)),
            *("--image-size", "16", "--batch-size", "2", "--epochs", "1"),
            "--distributed",
        ]
    )
    with (output / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["norm"] for row in rows] == ["batch", "deconv"]
    for row in rows:
        assert 0 <= float(row["final mean IoU"]) <= 1
        assert 0 <= float(row["final test accuracy"]) <= 1
        assert np.isfinite(float(row["train loss"]))


def test_wrong_folder(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--data-dir", "."])
    assert "must hold leftImg8bit/train" in capsys.readouterr().err

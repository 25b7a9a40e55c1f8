import csv
import importlib
import io
import re
import sys
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

# Not in the order of their names, nor of the files.
COLOURS = {"n02": (250, 0, 0), "n01": (0, 250, 0), "n10": (0, 0, 250)}
LABELS = {"n01": 0, "n02": 1, "n10": 2}


@pytest.fixture
def imagenet():
    return importlib.import_module("_imagenet")


def jpeg(colour, size=(48, 40)):
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "JPEG", quality=95)
    return content.getvalue()


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 4), ("val", 2)):
        for name, colour in COLOURS.items():
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                path = tmp_path / split / name / f"{name}_{index}.JPEG"
                path.write_bytes(jpeg(colour))
    (tmp_path / "train" / "n01" / "README.txt").write_text("no image")
    return tmp_path


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path):
    for index in range(2):
        path = tmp_path / f"imagenet-train-{index:04}.tar"
        with tarfile.open(path, "w") as archive:
            for name, colour in COLOURS.items():
                key = f"{name}_{index}"
                add(archive, f"{key}.cls", str(LABELS[name]).encode())
                add(archive, f"{key}.jpg", jpeg(colour))
                add(archive, f"{key}.json", b"{}")
    with tarfile.open(
        tmp_path / "imagenet-validation-0000.tar", "w"
    ) as archive:
        add(archive, "a.jpg", jpeg(COLOURS["n10"]))
        add(archive, "a.cls", b"2\n")
    return tmp_path


def shown(images):
    """The labels that the colours of all images stand for."""
    found = []
    for index in range(len(images.labels)):
        pixels = np.asarray(images.read(index)).mean(axis=(0, 1))
        found.append({0: 1, 1: 0, 2: 2}[int(np.argmax(pixels))])
    return found


def test_folder_of_classes(imagenet, folder):
    images = imagenet.find_images(folder, "train")
    assert images.labels.tolist() == shown(images)
    assert np.bincount(images.labels).tolist() == [4, 4, 4]
    assert len(imagenet.find_images(folder, "val").labels) == 6


def test_splits_have_the_same_classes(imagenet, folder):
    train = imagenet.find_images(folder, "train")
    imagenet.check_classes(train, imagenet.find_images(folder, "val"))
    (folder / "val" / "n02").rename(folder / "val" / "n03")
    with pytest.raises(ValueError, match="Received: n02, n03 in one"):
        imagenet.check_classes(train, imagenet.find_images(folder, "val"))


def test_class_that_is_not_trained(imagenet, shards):
    test = imagenet.find_images(shards, "val")
    imagenet.check_classes(imagenet.find_images(shards, "train"), test)
    with pytest.raises(ValueError, match="Received: 2 in the test set, up to"):
        imagenet.check_classes(
            imagenet.Images([], [], [], np.array([0, 1])), test
        )


def test_shards(imagenet, shards):
    images = imagenet.find_images(shards, "train")
    assert images.labels.tolist() == shown(images)
    assert np.bincount(images.labels).tolist() == [2, 2, 2]
    assert imagenet.find_images(shards, "val").labels.tolist() == [2]


def test_shards_in_a_folder(imagenet, shards):
    (shards / "train").mkdir()
    for path in shards.glob("*train*.tar"):
        path.rename(shards / "train" / path.name.replace("train", "part"))
    assert len(imagenet.find_images(shards, "train").labels) == 6


def test_shard_without_a_class(imagenet, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        add(archive, "a.jpg", jpeg((0, 0, 0)))
    with pytest.raises(ValueError, match=r"train\.tar without that of a"):
        imagenet.find_images(tmp_path, "train")


def test_class_that_is_no_number(imagenet, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        add(archive, "a.jpg", jpeg((0, 0, 0)))
        add(archive, "a.cls", b"cat")
    with pytest.raises(ValueError, match=r"number.*b'cat' in a\.cls"):
        imagenet.find_images(tmp_path, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no tar file", "whole tar file"), (b"", "whole tar file")],
)
def test_damaged_shard(imagenet, tmp_path, content, message):
    (tmp_path / "train.tar").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        imagenet.find_images(tmp_path, "train")


@pytest.mark.parametrize("length", [None, 40, 0], ids=["other", "cut", "end"])
def test_shard_with_a_damaged_header(imagenet, shards, length):
    """Python's module takes it for the end of the file."""
    (path, *_) = sorted(shards.glob("*train*.tar"))
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    start, content = members[3].offset, path.read_bytes()
    if length is None:
        damaged = content[:start] + b"?" * 8 + content[start + 8 :]
    else:
        damaged = content[: start + length]
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"cut short at byte {start}"):
        imagenet.find_images(shards, "train")


def test_shard_without_images(imagenet, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        add(archive, "a.txt", b"no image")
    with pytest.raises(ValueError, match=r"hold images.*train\.tar, empty"):
        imagenet.find_images(tmp_path, "train")


MODELS = ("image/encoded", "image/class/label", 1)
DATASETS = ("image", "label", 0)


def write_records(path, layout, entries, **options):
    """Writes (name of the class, content) as TensorFlow does."""
    import tensorflow as tf

    image, label, first = layout
    with tf.io.TFRecordWriter(
        str(path), tf.io.TFRecordOptions(**options)
    ) as writer:
        for value, content in entries:
            feature = {
                image: tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[content])
                ),
                label: tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[value + first])
                ),
            }
            writer.write(
                tf.train.Example(
                    features=tf.train.Features(feature=feature)
                ).SerializeToString()
            )


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        (MODELS, "train-{}-of-00002"),
        (MODELS, "train/{}.tfrecord"),
        (DATASETS, "imagenet2012-train.tfrecord-{}-of-00002"),
    ],
)
def test_tfrecords(imagenet, tmp_path, layout, name):
    for index in range(2):
        path = tmp_path / name.format(f"{index:05}")
        path.parent.mkdir(exist_ok=True)
        write_records(
            path,
            layout,
            [(LABELS[key], jpeg(COLOURS[key])) for key in COLOURS],
        )
    images = imagenet.find_images(tmp_path, "train")
    assert images.labels.tolist() == shown(images) == 2 * [1, 0, 2]


@pytest.mark.parametrize(
    ("layout", "entries", "message"),
    [
        (("picture", "label", 0), [(0, b"a")], "Received: label, picture in"),
        (MODELS, [(-1, b"a")], r"must be at least 1\. Received: 0 in"),
        (MODELS, [], "must hold images"),
    ],
)
def test_records_without_images(imagenet, tmp_path, layout, entries, message):
    write_records(tmp_path / "train.tfrecord", layout, entries)
    with pytest.raises(ValueError, match=message):
        imagenet.find_images(tmp_path, "train")


def test_damaged_records(imagenet, tmp_path):
    path = tmp_path / "train.tfrecord"
    write_records(path, MODELS, [(0, jpeg(COLOURS["n01"]))])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="whole and not compressed"):
        imagenet.find_images(tmp_path, "train")
    write_records(path, MODELS, [(0, b"a")], compression_type="GZIP")
    with pytest.raises(ValueError, match="whole and not compressed"):
        imagenet.find_images(tmp_path, "train")


def test_records_that_are_cut_in_a_head(imagenet, tmp_path):
    path = tmp_path / "train.tfrecord"
    write_records(path, MODELS, [(0, jpeg(COLOURS["n01"]))])
    whole = path.stat().st_size
    write_records(path, MODELS, 2 * [(0, jpeg(COLOURS["n01"]))])
    path.write_bytes(path.read_bytes()[: whole + 5])
    with pytest.raises(ValueError, match=f"cut short at byte {whole}"):
        imagenet.find_images(tmp_path, "train")


def test_records_with_a_label_of_another_kind(imagenet, tmp_path):
    import tensorflow as tf

    image, label, _ = MODELS
    feature = {
        image: tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a"])),
        label: tf.train.Feature(float_list=tf.train.FloatList(value=[1.0])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(ValueError, match=r"whole number\. Received: 1 and 0"):
        imagenet.find_images(tmp_path, "train")


def test_records_without_tensorflow(imagenet, tmp_path, monkeypatch):
    (tmp_path / "train.tfrecord").touch()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ValueError, match="pip install tensorflow"):
        imagenet.find_images(tmp_path, "train")


def test_nothing_there(imagenet, tmp_path):
    with pytest.raises(FileNotFoundError, match="train/CLASS"):
        imagenet.find_images(tmp_path, "train")


def test_grey_images_have_three_channels(imagenet, tmp_path):
    (tmp_path / "val" / "a").mkdir(parents=True)
    Image.new("L", (32, 32), 128).save(tmp_path / "val" / "a" / "0.png")
    images = imagenet.find_images(tmp_path, "val")
    x, y = imagenet.evaluation_batch(images, 16)(np.array([0]), None)
    assert x.shape == (1, 16, 16, 3)
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array(
        [0.229, 0.224, 0.225]
    )
    np.testing.assert_allclose(x[0, 3, 5], expected, atol=1e-3)
    assert y.tolist() == [0]


@pytest.mark.parametrize("name", ["training_batch", "evaluation_batch"])
def test_batches(imagenet, folder, rng, name):
    images = imagenet.find_images(folder, "train")
    x, y = getattr(imagenet, name)(images, 24)(np.array([11, 0, 5]), rng)
    assert x.shape == (3, 24, 24, 3)
    assert x.dtype == np.float32
    assert y.tolist() == [2, 0, 1]
    assert np.argmax(x.mean(axis=(1, 2)), axis=1).tolist() == [2, 1, 0]


def test_unknown_network(folder):
    backbones = importlib.import_module("_backbones")
    for name in ("resnet18", "applications:ResNet17", "timm:resnet18"):
        with pytest.raises(ValueError, match=f"Received: '{name}'"):
            backbones.build(name, 3, (32, 32, 3), {}, 0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("applications:MobileNetV2", {"alpha": 0.1}),
        (
            "keras_hub:ResNetBackbone",
            {
                "input_conv_filters": [64],
                "input_conv_kernel_sizes": [3],
                "stackwise_num_filters": [64],
                "stackwise_num_blocks": [1],
                "stackwise_num_strides": [1],
                "block_type": "basic_block",
            },
        ),
        (
            "keras_cv:ResNetV2Backbone",
            {
                "stackwise_filters": [4],
                "stackwise_blocks": [2],
                "stackwise_strides": [1],
                "include_rescaling": False,
            },
        ),
    ],
)
def test_networks_of_others(name, arguments):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("what is built does not depend on the backend")
    backbones = importlib.import_module("_backbones")
    model = backbones.build(name, 7, (32, 32, 3), arguments, 0)
    assert model.output_shape == (None, 7)
    assert model.input_shape == (None, 32, 32, 3)


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="a smoke test on one backend; others run other examples",
)
def test_train_imagenet(folder, capsys):
    script = importlib.import_module("train_imagenet")
    output = folder / "results"
    arguments = [
        *("--data-dir", str(folder), "--output", str(output)),
        *("--network", "applications:MobileNetV2"),
        *("--network-arguments", '{"alpha": 0.1}'),
        *("--image-size", "32", "--batch-size", "4"),
        *("--epochs", "1", "--steps-per-epoch", "2", "--preset", "fast"),
    ]
    script.main(arguments)
    with (output / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["norm"] for row in rows] == ["batch", "deconv"]
    assert [row["preset"] for row in rows] == ["", "fast"]
    assert {row["image size"] for row in rows} == {"32"}
    capsys.readouterr()
    script.main(arguments)
    assert "Epoch" not in capsys.readouterr().out
    assert (output / "results.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data-dir", "."], "must hold train/CLASS"),
        (["--data-dir", ".", "--network-arguments", "[1]"], "json_object"),
        ([], "required: --data-dir"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    script = importlib.import_module("train_imagenet")
    with pytest.raises(SystemExit):
        script.main(arguments)
    assert message in capsys.readouterr().err


def test_damaged_image_is_named(imagenet, folder):
    images = imagenet.find_images(folder, "train")
    path = Path(images.paths[0])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        images.read(0)


def test_grey_images_of_16_bits(imagenet, tmp_path):
    pixels = np.full((4, 4), 128 * 256, "uint16")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = imagenet.Images([str(tmp_path / "a.png")], [0], [None], [0])
    assert np.asarray(images.read(0)).tolist() == [[[128] * 3] * 4] * 4


def test_archives_beside_folders_are_left(imagenet, folder):
    before = imagenet.find_images(folder, "train")
    (folder / "all_train.tar").write_bytes(b"not read")
    (Path(before.paths[0]).parent / "._hidden.jpeg").write_bytes(b"no image")
    assert imagenet.find_images(folder, "train").paths == before.paths


def test_standardised_images_are_not_preprocessed_again():
    backbones = importlib.import_module("_backbones")
    model = backbones.build(
        "applications:MobileNetV3Small", 3, (32, 32, 3), {}, 0
    )
    kinds = {type(layer) for layer in model.layers[:3]}
    assert keras.layers.Rescaling not in kinds


def test_networks_are_checked_before_the_first_is_trained(folder, capsys):
    script = importlib.import_module("train_imagenet")
    networks = ["applications:MobileNet", "imagenet_resnet19"]
    with pytest.raises(SystemExit):
        script.main(["--data-dir", str(folder), "--network", *networks])
    assert "'imagenet_resnet19'" in capsys.readouterr().err


def test_data_sets_are_told_apart(imagenet, folder):
    script = importlib.import_module("train_imagenet")
    splits = [imagenet.find_images(folder, each) for each in ("train", "val")]
    counts = [len(each.labels) for each in splits]
    assert "{} + {} images".format(*counts) in script.describe(*splits)


def test_pixels_are_not_scaled_again():
    backbones = importlib.import_module("_backbones")
    model = backbones.build(
        "applications:EfficientNetB0", 3, (32, 32, 3), {}, 0
    )
    found = [
        (layer.scale, layer.offset)
        for layer in model.layers
        if isinstance(layer, keras.layers.Rescaling)
    ]
    assert set(found) == {(1.0, 0.0)}


def test_preset_of_keras_cv_is_that_of_its_class(monkeypatch):
    """Without a download of its configuration, which is Keras's part."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("what is built does not depend on the backend")
    known = importlib.import_module("keras_cv").models
    asked = []

    def from_preset(cls, name, **arguments):
        asked.append((cls, name, arguments))
        inputs = keras.Input((32, 32, 3))
        return keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))

    monkeypatch.setattr(known.Backbone, "from_preset", classmethod(from_preset))
    backbones = importlib.import_module("_backbones")
    backbones.build("keras_cv:resnet18_v2", 3, (32, 32, 3), {}, 0)
    arguments = {"load_weights": False, "input_shape": (32, 32, 3)}
    assert asked == [(known.ResNetV2Backbone, "resnet18_v2", arguments)]


def test_modules_are_no_networks():
    backbones = importlib.import_module("_backbones")
    with pytest.raises(ValueError, match="Received: 'applications:resnet50'"):
        backbones.check("applications:resnet50")


def test_hidden_folders_are_no_classes(imagenet, folder):
    (folder / "train" / ".checkpoints").mkdir()
    images = imagenet.find_images(folder, "train")
    assert images.labels.tolist() == shown(images)

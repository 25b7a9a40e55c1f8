"""Where the images lie in TFRecord shards.

Two layouts are in use for ImageNet. TensorFlow's models write
`image/encoded` and `image/class/label`, where 0 is a background that no image
has and classes count from 1; tensorflow-datasets writes `image` and `label`,
from 0.

TensorFlow reads the shards once, to find the images; they are read from the
files themselves when they are needed, on every backend.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from _shards import Member

# The keys of the image and of its class, and the first class.
LAYOUTS = (("image/encoded", "image/class/label", 1), ("image", "label", 0))
# Length and its checksum stand before a record, a checksum behind it.
HEAD, FOOT = 12, 4


def find_shards(data_dir: Path, split: str) -> list[Path]:
    """Returns the shards of a split, in order.

    They are SPLIT/*.tfrecord* or, as TensorFlow's models name them,
    SPLIT/*-of-*; or in the folder itself *SPLIT*.tfrecord* or SPLIT*-of-*.
    """
    patterns = (
        f"{split}/*.tfrecord*",
        f"{split}/*-of-*",
        f"*{split}*.tfrecord*",
        f"{split}*-of-*",
    )
    for pattern in patterns:
        if found := sorted(data_dir.glob(pattern)):
            return found
    return []


def members(shard: Path) -> Iterator[Member]:
    """Yields the images of a shard.

    Raises:
        ValueError: TensorFlow is not installed, the shard is damaged or
            compressed, or a record has neither layout.
    """
    tf = _tensorflow(shard)
    start = 0
    try:
        for record in tf.data.TFRecordDataset(str(shard)).as_numpy_iterator():
            yield _member(record, start + HEAD, shard, tf)
            start += HEAD + len(record) + FOOT
    except tf.errors.DataLossError as error:
        raise ValueError(
            "A TFRecord shard must be whole and not compressed. "
            f"Received: {shard}: {error.message}"
        ) from error
    # TensorFlow takes a part of a record's head for the end of the file.
    if start != shard.stat().st_size:
        raise ValueError(
            "A TFRecord shard must be whole and not compressed. "
            f"Received: {shard}, cut short at byte {start}"
        )


def _member(record: bytes, start: int, shard: Path, tf: Any) -> Member:
    """Returns the image of a record, which begins at `start` in the file."""
    features = tf.train.Example.FromString(record).features.feature
    layout = next((k for k in LAYOUTS if {*k[:2]} <= {*features}), None)
    if layout is None:
        wanted = " or ".join(f"'{i}' and '{k}'" for i, k, _ in LAYOUTS)
        raise ValueError(
            f"A TFRecord must have {wanted}. Received: "
            f"{', '.join(sorted(features)) or 'nothing'} in {shard}"
        )
    image, label, first = layout
    contents = features[image].bytes_list.value
    values = features[label].int64_list.value
    if len(contents) != 1 or len(values) != 1:
        raise ValueError(
            f"'{image}' must be one image, and '{label}' one whole number. "
            f"Received: {len(contents)} and {len(values)} of them in {shard}"
        )
    (content,), (value,) = contents, values
    if value < first:
        raise ValueError(
            f"'{label}' must be at least {first}. Received: {value} in {shard}"
        )
    return Member(start + record.index(content), len(content), value - first)


def _tensorflow(shard: Path) -> Any:
    """Returns TensorFlow, which is to leave GPUs to the backend."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ValueError(
            "TFRecord shards are read by TensorFlow, whatever the backend: "
            f"`pip install tensorflow`. Received: {shard}"
        ) from error
    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")
    return tf

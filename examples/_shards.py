"""Where the images lie in tar shards, as webdataset writes them.

An image `k.jpg` has its class, a number from zero, in `k.cls`.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
LABEL_SUFFIX = ".cls"


class Member(NamedTuple):
    """An image in a shard: its place in bytes, and its class from zero."""

    offset: int
    size: int
    label: int


def find_shards(data_dir: Path, split: str) -> list[Path]:
    """Returns the shards of a split: SPLIT/*.tar, or *SPLIT*.tar."""
    return sorted((data_dir / split).glob("*.tar")) or sorted(
        data_dir.glob(f"*{split}*.tar")
    )


def members(shard: Path) -> Iterator[Member]:
    """Yields the images of a shard.

    Raises:
        ValueError: The shard is damaged, or a class is missing or no number.
    """
    images: dict[str, tarfile.TarInfo] = {}
    classes: dict[str, int] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if Path(member.name).name.startswith("."):
                    continue
                key, _, suffix = member.name.rpartition(".")
                suffix = f".{suffix.lower()}"
                if suffix in IMAGE_SUFFIXES:
                    images[key] = member
                elif suffix == LABEL_SUFFIX:
                    file = archive.extractfile(member)
                    content = file.read() if file else b""
                    classes[key] = _number(content, member.name, shard)
            _check_end(shard, archive.offset)
    except tarfile.TarError as error:
        raise ValueError(
            "A shard must be a whole tar file, and not compressed. "
            f"Received: {shard}: {error}"
        ) from error
    missing = sorted(images.keys() - classes.keys())
    if missing:
        raise ValueError(
            f"In a shard, each image must have its class in KEY{LABEL_SUFFIX}. "
            f"Received: {shard} without that of {', '.join(missing[:3])}"
        )
    for key, member in images.items():
        yield Member(member.offset_data, member.size, classes[key])


def _check_end(shard: Path, end: int) -> None:
    """Raises TarError unless a block of zeros ends a tar, as it ought to.

    Of a damaged header, Python's module says nothing but for the first.
    """
    with shard.open("rb") as file:
        file.seek(end)
        block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or block.strip(b"\0"):
        raise tarfile.ReadError(f"damaged or cut short at byte {end}")


def _number(content: bytes, name: str, shard: Path) -> int:
    if not content.strip().isdigit():
        raise ValueError(
            f"A class must be a number. Received: {content[:20]!r} in {name} "
            f"of {shard}"
        )
    return int(content)

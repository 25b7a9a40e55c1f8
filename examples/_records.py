"""The table of finished runs: one CSV file, one line a run."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path


def read(path: Path) -> list[dict[str, str]]:
    """Returns the lines of a table, none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find(path: Path, wanted: Mapping[str, str]) -> dict[str, str] | None:
    """Returns the line that has these values, if there is one."""
    for row in read(path):
        if all(row.get(key, "") == value for key, value in wanted.items()):
            return row
    return None


def append(path: Path, row: Mapping[str, str]) -> None:
    """Adds a line; columns that are new get a place at the end.

    A reader sees the old file or the new one, never a part. The file is read
    right before it is replaced; still, two programs that write at the very
    same time need a table each.
    """
    rows = [*read(path), dict(row)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_epochs(path: Path) -> list[dict[str, float]]:
    """Returns the log of a run, one line for each epoch.

    A run that was killed between logging an epoch and saving its weights
    has trained that epoch twice: the second time counts. A line that is not
    whole is left out.
    """
    epochs: dict[int, dict[str, float]] = {}
    for row in read(path):
        try:
            values = {key: float(value) for key, value in row.items()}
        except (TypeError, ValueError):
            continue
        epochs[int(values["epoch"])] = values
    return [epochs[epoch] for epoch in sorted(epochs)]


def end_line(path: Path) -> None:
    """Ends a last line that a kill has cut, so that the next one is whole."""
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.write(b"\n")

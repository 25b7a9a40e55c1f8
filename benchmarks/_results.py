"""Result files: what every benchmark writes.

`NAME.json` holds the question, the command, the settings that all records
share, and the records. `NAME.environment.json` beside it says what they were
measured on.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

# What a run has run on is asked as the examples ask it.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

from _environment import environment

KEYS = ("question", "command", "settings", "records")


class Result(NamedTuple):
    """A result file and its environment file."""

    question: str
    command: str
    settings: dict[str, Any]
    records: list[dict[str, Any]]
    environment: dict[str, Any]


def result_path(text: str) -> Path:
    """Returns the path of a result file: for the options of a benchmark.

    Raises:
        argparse.ArgumentTypeError: It is none, which is told before a run.
    """
    try:
        beside(Path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def write(
    path: str | Path,
    question: str,
    command: str,
    records: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes a result file, and its environment file beside it.

    A reader sees the old file or the new one, never a part.

    Args:
        path: `NAME.json`; its folder is made if need be.
        question: What the benchmark answers.
        command: What makes the same records again.
        records: Flat dicts, their keys fit to head a table.
        settings: What all records have in common, also flat.

    Raises:
        ValueError: `path` is no .json file, or a value is not flat or finite.
    """
    path = Path(path)
    environment_path = beside(path)
    for values in (*records, settings or {}):
        _check_flat(values)
    content = {
        "question": question,
        "command": command,
        "settings": dict(settings or {}),
        "records": [dict(record) for record in records],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(environment_path, environment())
    _replace(path, content)


def read(path: str | Path) -> Result:
    """Reads a result file and its environment file.

    Raises:
        FileNotFoundError: One of the two is not there.
        ValueError: One of them is not what `write` writes.
    """
    path = Path(path)
    content, measured_on = _read_object(path), _read_object(beside(path))
    missing = [key for key in KEYS if key not in content]
    if missing:
        raise ValueError(
            f"a result file must hold {', '.join(KEYS)}; "
            f"{path} lacks {', '.join(missing)}"
        )
    known = {key: content[key] for key in KEYS}
    return Result(**known, environment=measured_on)


def beside(path: Path) -> Path:
    """Returns where the environment file of a result file lies."""
    if path.suffix != ".json" or path.stem.endswith(".environment"):
        raise ValueError(f"a result file must be NAME.json; got {path}")
    return path.with_suffix(".environment.json")


def _check_flat(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        flat = value is None or isinstance(value, str | int | float)
        if not flat or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(
                "a value must be text, a finite number, true, false or None; "
                f"got {key!r}: {value!r}"
            )


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, "utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            "a result lies in NAME.json and NAME.environment.json; "
            f"found no {path}"
        )
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must hold JSON; {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold a JSON object; got {type(content).__name__}"
        )
    return content

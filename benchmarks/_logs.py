"""The logs of the examples that are kept: what docs/results.md is made of."""

import shutil
import sys
from pathlib import Path

# The logs are read as the examples write them.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import _records
from _environment import RUN_FILE
from _runs import LOG
from _runs import RESULTS

LOGS = Path(__file__).parent / "logs"
# Short tables, of scripts that have no line for each run.
TABLES = ("test.csv", "numbers.csv", "errors.csv")


def keep(outputs: Path, logs: Path, images: Path) -> None:
    """Keeps what the examples have left in a folder.

    A run takes the place of an older one of the same settings.

    Args:
        outputs: A folder for each script.
        logs: The same, of what is kept.
        images: For the figures.
    """
    for source in sorted(path for path in outputs.glob("*") if path.is_dir()):
        kept = logs / source.name
        if (source / RESULTS).is_file():
            _keep_runs(source, kept)
        is_whole = (source / RUN_FILE).is_file()
        if is_whole and any((source / name).is_file() for name in TABLES):
            kept.mkdir(parents=True, exist_ok=True)
            for name in (*TABLES, RUN_FILE):
                (kept / name).unlink(missing_ok=True)
                if (source / name).is_file():
                    shutil.copyfile(source / name, kept / name)
            for path in source.glob("*.png"):
                images.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, images / f"{source.name}-{path.name}")


def _keep_runs(source: Path, kept: Path) -> None:
    """Keeps lines and logs of all whole runs."""
    kept.mkdir(parents=True, exist_ok=True)
    rows = {row["run"]: row for row in _records.read(kept / RESULTS)}
    for row in _records.read(source / RESULTS):
        if row.get("steps per epoch"):
            continue
        rows[row["run"]] = row
        log = source / row["run"] / LOG
        if log.is_file():
            (kept / row["run"]).mkdir(exist_ok=True)
            shutil.copyfile(log, kept / row["run"] / LOG)
    (kept / RESULTS).unlink(missing_ok=True)
    for row in rows.values():
        _records.append(kept / RESULTS, row)

"""What a run has run on."""

import datetime
import functools
import importlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import keras
import numpy as np

RUN_FILE = "run.json"


def record(folder: Path, command: str) -> None:
    """Writes beside logs by which command and on what they were made."""
    content = {"command": command, "environment": environment()}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / RUN_FILE).write_text(text, "utf-8")


@functools.cache
def environment() -> dict[str, Any]:
    """Says what this process measures on; asked once, at the first call."""
    backend = keras.backend.backend()
    framework = importlib.import_module(backend)
    return {
        "backend": backend,
        "keras": keras.__version__,
        backend: framework.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "CPU": _cpu(),
        "cores": os.cpu_count(),
        "usable cores": _usable_cores(),
        "GPU": _gpu(),
        "OS": platform.platform(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(
            timespec="seconds"
        ),
        "git commit": _commit(),
    }


def _cpu() -> str:
    """Returns the name of the processor; `platform` has none on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, name = line.partition(":")
        if key.strip() == "model name":
            return name.strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int | None:
    """Returns how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _gpu() -> str | None:
    """Returns the name of the GPU that Keras computes on, if it has one."""
    try:
        found = keras.distribution.list_devices("gpu")
    except (AttributeError, RuntimeError):
        # PyTorch has no such list, and JAX raises where there is no GPU.
        device = str(getattr(keras.ops.ones(1), "device", "cpu"))
        found = [] if "cpu" in device.lower() else [device]
    if not found:
        return None
    names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names.splitlines()[0] if names else found[0]


def _commit() -> str | None:
    """Returns the commit, marked if tracked files differ from it."""
    return _output(
        *("git", "--no-optional-locks", "describe"),
        *("--always", "--dirty", "--exclude=*", "--abbrev=12"),
    )


def _output(*command: str) -> str | None:
    """Returns what a program prints, or None if it fails or is not there."""
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None

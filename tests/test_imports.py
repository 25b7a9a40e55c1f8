"""The package's import rule, checked on its source and in a fresh process."""

import ast
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "keras_deconv"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

# What each part of the package may import from the other parts. Within a part
# imports are free; `keras_deconv/__init__.py` may import every part.
BELOW = {
    "_types": set(),
    "_checks": set(),
    "_warnings": set(),
    "_engine": {"_types"},
    "ops": {"_types", "_checks", "_engine"},
    "layers": {"_types", "_checks", "_warnings", "_engine", "ops"},
    "transforms": {
        "_types",
        "_checks",
        "_warnings",
        "_engine",
        "ops",
        "layers",
    },
    "callbacks": {"_types", "_checks", "_engine", "ops", "layers"},
    "models": set(),
    "visualization": {"_types", "_checks", "_engine", "ops", "layers"},
}

# What each part may import from other distributions.
OUTSIDE = {part: {"keras", "numpy"} for part in BELOW}
OUTSIDE["models"] = {"keras"}
# Lazily, to draw the plan: an extra.
OUTSIDE["transforms"] = {"keras", "numpy", "rich"}
OUTSIDE["visualization"] = {"keras", "numpy", "matplotlib"}
OUTSIDE["__init__"] = {"keras"}

FRAMEWORKS = ("jax", "tensorflow", "torch")
# The part that may import them, lazily: see the last test.
SPEAKS_TO_FRAMEWORKS = "_engine"


def part_of(path: Path, root: Path) -> str:
    """The part a file belongs to: `ops` for `ops/_blocks.py`."""
    first = path.relative_to(root).parts[0]
    return first.removesuffix(".py")


def imported_names(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yields line and absolute dotted name of all that a file imports.

    `from a import b` yields `a.b`, whether `b` is a module or not. Imports
    inside functions and under TYPE_CHECKING count like any other, and so do
    `import_module("a")` and `keras.src` reached as an attribute.
    """
    package = (root.name, *path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield node.lineno, alias.name
            case ast.ImportFrom():
                base = node.module or ""
                if node.level:
                    up = package[: len(package) - node.level + 1]
                    base = ".".join([*up, base]).rstrip(".")
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name
            case ast.Attribute(value=ast.Name(id="keras"), attr="src"):
                yield node.lineno, "keras.src"


def complaint(part: str, name: str, package: str) -> str | None:
    """Says why `part` may not import `name`, or nothing if it may."""
    top, *rest = name.split(".")
    if top == package:
        if part == "__init__":
            return None
        target = rest[0] if rest else ""
        if target == part or target in BELOW[part]:
            return None
        allowed = ", ".join(sorted(BELOW[part])) or "no other part"
        return f"{part} may import {allowed} of {package}, not {name}"
    if top in sys.stdlib_module_names:
        return None
    if top in FRAMEWORKS:
        if part == SPEAKS_TO_FRAMEWORKS:
            return None
        return f"{name} is one backend's: use keras.ops"
    if top not in OUTSIDE[part]:
        allowed = ", ".join(sorted(OUTSIDE[part]))
        return f"{part} may import {allowed} from outside, not {name}"
    if top == "keras" and rest and rest[0] in ("src", "_tf_keras"):
        return f"{name} is not public: use what keras itself exports"
    return None


def violations(root: Path) -> list[str]:
    """All breaches of the import rule under `root`, one line each."""
    found = []
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root.parent).as_posix()
        part = part_of(path, root)
        if part != "__init__" and part not in BELOW:
            found.append(f"{where}: {part} has no entry in BELOW")
            continue
        if not path.name.startswith("_"):
            found.append(f"{where}: module files are private, _{path.name}")
        for line, name in imported_names(path, root):
            reason = complaint(part, name, root.name)
            if reason:
                found.append(f"{where}:{line}: {reason}")
    return found


def write_package(folder: Path, files: dict[str, str]) -> Path:
    root = folder / PACKAGE
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), "utf-8")
    return root


def test_package_keeps_the_import_rule():
    assert any(ROOT.rglob("*.py")), f"no package at {ROOT}"
    found = violations(ROOT)
    assert not found, "\n" + "\n".join(found)


def test_walker_accepts_what_the_rule_allows(tmp_path):
    root = write_package(
        tmp_path,
        {
            "__init__.py": "from keras_deconv import layers, ops\n",
            "_types.py": "from typing import Any\n",
            "_engine/_a.py": """
                import keras

                def f():
                    import jax
                    import tensorflow as tf
                    import torch
                """,
            "ops/__init__.py": "from ._scale import scale\n",
            "ops/_scale.py": """
                import math
                import numpy as np
                from keras import ops
                from .. import _types
                from ._other import other
                """,
            "layers/__init__.py": """
                from keras_deconv import ops
                from keras_deconv._engine import f
                from ..ops import scale
                from keras_deconv._types import Tensor
                """,
            "callbacks/__init__.py": "from keras_deconv import layers\n",
            "models/__init__.py": "from keras import layers\n",
            "visualization/__init__.py": "from matplotlib import pyplot\n",
        },
    )
    assert violations(root) == []


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        pytest.param(
            "ops/_a.py",
            "from keras_deconv.layers import DeconvDense",
            "ops may import _checks, _engine, _types",
            id="upward",
        ),
        pytest.param(
            "ops/_a.py",
            "from keras_deconv import layers",
            "ops may import _checks, _engine, _types",
            id="upward-from-root",
        ),
        pytest.param(
            "ops/_a.py",
            "from ..layers import DeconvDense",
            "ops may import _checks, _engine, _types",
            id="upward-relative",
        ),
        pytest.param(
            "ops/_a.py",
            "from .. import layers",
            "ops may import _checks, _engine, _types",
            id="upward-relative-from-root",
        ),
        pytest.param(
            "layers/deep/_a.py",
            "from ...transforms import fold",
            "not keras_deconv.transforms.fold",
            id="upward-from-below",
        ),
        pytest.param(
            "callbacks/_a.py",
            "import keras_deconv.transforms",
            "not keras_deconv.transforms",
            id="sideways",
        ),
        pytest.param(
            "ops/_a.py",
            "import keras_deconv",
            "not keras_deconv",
            id="root",
        ),
        pytest.param(
            "_types.py",
            "from keras_deconv import ops",
            "_types may import no other part",
            id="bottom",
        ),
        pytest.param(
            "_engine/_a.py",
            "from keras_deconv import ops",
            "_engine may import _types of",
            id="engine",
        ),
        pytest.param(
            "models/_a.py",
            "from keras_deconv import _types",
            "models may import no other part",
            id="models",
        ),
        pytest.param(
            "models/_a.py",
            "import numpy as np",
            "models may import keras from outside",
            id="models-numpy",
        ),
        pytest.param(
            "layers/_a.py",
            """
            from typing import TYPE_CHECKING

            if TYPE_CHECKING:
                from keras_deconv.transforms import fold
            """,
            "_a.py:5: layers may import",
            id="type-checking",
        ),
        pytest.param(
            "layers/_a.py",
            """
            def f():
                import torch.nn
            """,
            "torch.nn is one backend's",
            id="framework-in-function",
        ),
        pytest.param(
            "layers/_a.py",
            'import importlib\nimportlib.import_module("jax")',
            "jax is one backend's",
            id="framework-by-name",
        ),
        pytest.param(
            "layers/_a.py",
            "from keras.src.backend import standardize_dtype",
            "not public",
            id="private-keras",
        ),
        pytest.param(
            "layers/_a.py",
            "from keras import src",
            "not public",
            id="private-keras-from-root",
        ),
        pytest.param(
            "layers/_a.py",
            "import keras\nkeras.src.backend.backend()",
            "_a.py:2: keras.src is not public",
            id="private-keras-attribute",
        ),
        pytest.param(
            "ops/_a.py",
            "import matplotlib",
            "ops may import keras, numpy from outside",
            id="outside",
        ),
        pytest.param(
            "losses/__init__.py",
            "",
            "losses has no entry in BELOW",
            id="unknown-part",
        ),
        pytest.param(
            "ops/scale.py",
            "",
            "module files are private, _scale.py",
            id="public-module-file",
        ),
    ],
)
def test_walker_catches(tmp_path, name, source, reason):
    root = write_package(tmp_path, {"__init__.py": "", name: source})
    (found,) = violations(root)
    assert found.startswith(f"{PACKAGE}/{name}:")
    assert reason in found


def test_import_loads_no_further_backend_and_no_pictures():
    # The process inherits KERAS_BACKEND. `import keras` alone may load more
    # than its own backend, and matplotlib, which is not this package's doing.
    script = f"""
        import json, sys
        frameworks = {FRAMEWORKS}
        import keras
        before = [name for name in frameworks if name in sys.modules]
        import {PACKAGE}
        after = [name for name in frameworks if name in sys.modules]
        pictures = "{PACKAGE}.visualization"
        is_lazy = pictures not in sys.modules
        is_there = {PACKAGE}.visualization is sys.modules[pictures]
        print(json.dumps([before, after, is_lazy, is_there]))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after, is_lazy, is_there = json.loads(done.stdout.splitlines()[-1])
    assert after == before
    assert is_lazy
    assert is_there

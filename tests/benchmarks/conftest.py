"""The benchmarks import each other from their own folder."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def results():
    return importlib.import_module("_results")


@pytest.fixture
def render():
    return importlib.import_module("render")

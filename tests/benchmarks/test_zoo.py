"""Models of three libraries: a few always, all of them when asked."""

import importlib
import json

import keras
import pytest

FEW = {
    "keras.applications": ["MobileNetV2"],
    "keras-cv": ["CSPDarkNetBackbone"],
    "keras-hub": ["ImageClassifier"],
}
ENVIRONMENT = {
    "versions": {"keras": "3.15.1"},
    "backend": "torch",
    "machine": "any",
}
FINE = {
    "BN left": 0,
    "type kept": True,
    "step finite": True,
    "reload difference": 0.0,
}


@pytest.fixture
def zoo():
    return importlib.import_module("zoo")


def check(records):
    assert records
    for record in records:
        assert "error" not in record, record
        assert FINE.items() <= record.items(), record
        assert record["fold difference"] <= 1e-5, record
        assert record["restore difference"] <= 1e-5, record


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="compiling them takes minutes; the slow test has them",
)
@pytest.mark.parametrize("library", FEW)
def test_a_few_models(zoo, library, tmp_path, capsys):
    output = tmp_path / "zoo.json"
    zoo.main(
        [
            "--libraries",
            library,
            "--models",
            *FEW[library],
            "--output",
            str(output),
        ]
    )
    check(json.loads(output.read_text())["records"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_models(zoo, tmp_path, capsys):
    output = tmp_path / "zoo.json"
    zoo.main(["--output", str(output)])
    check(json.loads(output.read_text())["records"])
    zoo.main(["--page", str(output)])
    assert "| BASNet |" in capsys.readouterr().out


def test_failure_is_a_record(zoo):
    def make():
        raise RuntimeError("no such\nmodel")

    assert zoo.examine("any", make) == {
        "model": "any",
        "error": "RuntimeError: no such",
    }

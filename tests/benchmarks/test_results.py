import argparse
import datetime
import json

import keras
import pytest

RECORDS = [
    {"network": "plain", "ms per step": 1.5, "diverged": False},
    {"network": "deconvolved", "ms per step": 3, "diverged": None},
]


def write(results, path, records=RECORDS, **settings):
    results.write(path, "What?", "python what.py", records, settings)


def test_round_trip(results, tmp_path):
    path = tmp_path / "new" / "what.json"
    write(results, path, epochs=0.5)
    found = results.read(path)
    assert found.question == "What?"
    assert found.command == "python what.py"
    assert found.settings == {"epochs": 0.5}
    assert found.records == RECORDS
    assert found.environment == results.environment()
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "what.environment.json",
        "what.json",
    ]


def test_environment(results):
    found = results.environment()
    backend = keras.backend.backend()
    assert found["backend"] == backend
    assert found["keras"] == keras.__version__
    for name in (backend, "numpy", "python", "CPU", "OS"):
        assert found[name]
        assert isinstance(found[name], str)
    assert 1 <= found["usable cores"] <= found["cores"]
    assert found["GPU"] is None or found["GPU"]
    assert datetime.datetime.fromisoformat(found["date"]).tzinfo
    assert "git commit" in found


def test_failed_write_leaves_the_old_file(results, tmp_path, monkeypatch):
    path = tmp_path / "what.json"
    write(results, path)
    before = path.read_bytes()

    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(results.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(results, path, [])
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinite"),
        pytest.param([1, 2], id="list"),
    ],
)
def test_value_is_flat_and_finite(results, tmp_path, value):
    with pytest.raises(ValueError, match=r"finite number.*got 'loss'"):
        write(results, tmp_path / "what.json", [{"loss": value}])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["what.txt", "what.environment.json"])
def test_name_of_a_result(results, tmp_path, name):
    with pytest.raises(ValueError, match=r"must be NAME\.json; got"):
        write(results, tmp_path / name)


def test_missing_environment(results, tmp_path):
    path = tmp_path / "what.json"
    write(results, path)
    path.with_suffix(".environment.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"found no .*environment"):
        results.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must hold JSON"),
        ("[]", "JSON object; got list"),
        (json.dumps({"question": "What?"}), "lacks command, settings, records"),
    ],
)
def test_broken_file(results, tmp_path, text, message):
    path = tmp_path / "what.json"
    write(results, path)
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        results.read(path)


def test_option_is_checked_before_a_run(results, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=results.result_path)
    name = "results/what.json"
    assert str(parser.parse_args(["--output", name]).output) == name
    with pytest.raises(SystemExit):
        parser.parse_args(["--output", "results"])
    assert "must be NAME.json; got results" in capsys.readouterr().err

import importlib

import pytest


@pytest.fixture
def records():
    return importlib.import_module("_records")


def test_lines_are_added(records, tmp_path):
    path = tmp_path / "results.csv"
    assert records.read(path) == []
    records.append(path, {"network": "a, b", "seed": "0"})
    records.append(path, {"network": "c", "rate": "0.1"})
    assert records.read(path) == [
        {"network": "a, b", "seed": "0", "rate": ""},
        {"network": "c", "seed": "", "rate": "0.1"},
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_find(records, tmp_path):
    path = tmp_path / "results.csv"
    records.append(path, {"network": "a", "seed": "0"})
    assert records.find(path, {"network": "a", "seed": "0"})["seed"] == "0"
    assert records.find(path, {"network": "a", "seed": "1"}) is None
    # A column that older lines lack is empty in them.
    assert records.find(path, {"network": "a", "rate": ""})
    assert records.find(path, {"network": "a", "rate": "0.1"}) is None


def test_failed_write_leaves_the_old_file(records, tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    records.append(path, {"seed": "0"})
    before = path.read_bytes()

    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(records.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        records.append(path, {"seed": "1"})
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_log_that_a_kill_has_cut(records, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,seconds\n0,2.0,1.0\n1,1.5,1.0\n2,1.")
    records.end_line(path)
    with path.open("a") as file:
        file.write("1,1.25,3.0\n2,1.0,1.0\n")
    assert records.read_epochs(path) == [
        {"epoch": 0, "loss": 2.0, "seconds": 1.0},
        {"epoch": 1, "loss": 1.25, "seconds": 3.0},
        {"epoch": 2, "loss": 1.0, "seconds": 1.0},
    ]


def test_whole_log_is_left(records, tmp_path):
    path = tmp_path / "log.csv"
    records.end_line(path)
    path.write_text("epoch\n0\n")
    records.end_line(path)
    assert path.read_text() == "epoch\n0\n"

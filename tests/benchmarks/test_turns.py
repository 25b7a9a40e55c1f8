import importlib

import pytest


@pytest.fixture
def turns():
    return importlib.import_module("_turns")


def test_forms_take_turns_and_the_baseline_a_second(turns):
    ran = []
    forms = {name: lambda name=name: ran.append(name) for name in "ab"}
    found = turns.take_turns(forms, 2, "a")
    assert ran == [*"ab", *"aba", *"aba"]
    assert list(found) == ["a", "b", "a, again"]
    assert all(len(each) == 2 for each in found.values())
    assert all(turn.clock > 0 for each in found.values() for turn in each)


def test_ratio_is_the_median_of_the_ratios_in_each_round(turns):
    found = make(turns, {"a": [1.0, 2.0, 4.0], "b": [2.0, 2.0, 2.0]})
    first, second = turns.to_records(found, "a", steps=2)
    assert first == {
        "form": "a",
        "ms": 1000.0,
        "ratio to a": 1.0,
        "ratio of processor time": 1.0,
    }
    assert second == {
        "form": "b",
        "ms": 1000.0,
        "ratio to a": 1.0,
        "ratio of processor time": 1.0,
    }
    found = make(turns, {"a": [1.0, 1.0], "b": [3.0, 5.0]})
    (_, second) = turns.to_records(found, "a")
    assert second["ratio to a"] == 4.0


def make(turns, seconds):
    """Returns turns that ran on two processors all the time."""
    return {
        name: [turns.Turn(each, 2 * each) for each in mine]
        for name, mine in seconds.items()
    }

import importlib
import json
import shlex

import keras
import numpy as np
import pytest

not_on_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="gradients of convolutions are slow in JAX on a CPU",
)

KEYS = [
    "variant",
    "seed",
    "learning rate",
    "test accuracy",
    "final loss",
    "ms per step",
    "ms per step, last quarter",
    "diverged",
    "commit",
]


SPARING = ("D every 4th step",)


@pytest.fixture
def ablation():
    return importlib.import_module("ablation")


@pytest.fixture
def options(tmp_path, rng):
    """Returns the options of a tiny run, data set written."""
    np.savez(
        tmp_path / "cifar10.npz",
        x_train=rng.integers(0, 256, (32, 8, 8, 3), np.uint8),
        y_train=rng.integers(0, 10, 32, np.uint8),
        x_test=rng.integers(0, 256, (10, 8, 8, 3), np.uint8),
        y_test=rng.integers(0, 10, 10, np.uint8),
    )
    return [
        *("--data-dir", str(tmp_path)),
        *("--output", str(tmp_path / "found.json")),
        *("--epochs", "0.5", "--batch-size", "8", "--widths", "2", "2"),
    ]


@pytest.fixture
def add_run(ablation, monkeypatch):
    """Replaces training; returns the list of what would have been trained."""
    ran = []

    def run(variant, training, seed):
        ran.append((seed, variant.name))
        return make_record(variant.name, seed)

    monkeypatch.setattr(ablation, "run", run)
    return ran


def make_record(variant, seed=0, accuracy=0.5, ms=100.0, diverged=False):
    return {
        "variant": variant,
        "seed": seed,
        "learning rate": 0.1,
        "test accuracy": accuracy,
        "final loss": None if diverged else 1.0,
        "ms per step": ms,
        "ms per step, last quarter": ms / 2 if variant in SPARING else ms,
        "diverged": diverged,
        "commit": None,
    }


@not_on_jax
def test_end_to_end(ablation, results, options, tmp_path, capsys):
    options += ["--seeds", "0", "--batch-norm-rates", "0.05", "--widths", "2"]
    options += ["--variants", "2 iterations"]
    ablation.main(options)
    first = results.read(tmp_path / "found.json")
    names = ["batch normalization, rate 0.05", "2 iterations"]
    assert [record["variant"] for record in first.records] == names
    assert [record["learning rate"] for record in first.records] == [0.05, 0.1]
    assert first.settings["steps"] == 2
    for record in first.records:
        assert list(record) == KEYS
        assert record["seed"] == 0
        assert 0 <= record["test accuracy"] <= 1
        assert record["final loss"] > 0
        assert record["ms per step"] > 0
        assert record["diverged"] is False
    printed = capsys.readouterr().out
    assert "2 of 2: seed 0, 2 iterations:" in printed
    assert "0.05 (best of the rates) |" in printed

    ablation.main([*options, "--seeds", "0", "1", "--variants"])
    second = results.read(tmp_path / "found.json")
    assert second.records[:2] == first.records
    (added,) = second.records[2:]
    assert (added["variant"], added["seed"]) == (names[0], 1)


def test_runs_go_seed_by_seed(ablation, options, add_run):
    ablation.main([*options, "--seeds", "1", "0"])
    seeds, names = zip(*add_run, strict=True)
    count = 4 + len(ablation.VARIANTS)
    assert seeds == (1,) * count + (0,) * count
    assert names[:count] == names[count:]
    assert set(names) > set(ablation.VARIANTS)


def test_stopped_session_goes_on(ablation, options, add_run, monkeypatch):
    options += ["--seeds", "0", "1", "--variants"]
    run = ablation.run

    def stop(variant, training, seed):
        if len(add_run) == 3:
            raise KeyboardInterrupt
        return run(variant, training, seed)

    monkeypatch.setattr(ablation, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        ablation.main(options)
    monkeypatch.setattr(ablation, "run", run)
    ablation.main(options)
    assert len(add_run) == len(set(add_run)) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--epochs", "1"], "epochs was 0.5, is 1.0; steps was 2, is 4"),
        (["--widths", "4"], "widths was 2-2, is 4"),
        (["--learning-rate", "0.2"], "learning rate was 0.1, is 0.2"),
    ],
)
def test_other_settings(ablation, options, add_run, capsys, change, message):
    ablation.main([*options, "--seeds", "0"])
    done = len(add_run)
    with pytest.raises(SystemExit):
        ablation.main([*options, *change])
    assert message in capsys.readouterr().err
    assert len(add_run) == done


def test_other_environment(ablation, options, add_run, tmp_path, capsys):
    ablation.main([*options, "--seeds", "0"])
    path = tmp_path / "found.environment.json"
    environment = json.loads(path.read_text())
    path.write_text(json.dumps({**environment, "CPU": "abacus", "date": ""}))
    with pytest.raises(SystemExit):
        ablation.main(options)
    error = capsys.readouterr().err
    assert "CPU was abacus, is" in error
    assert "date" not in error


def test_command_makes_the_same_runs(
    ablation, results, options, add_run, tmp_path
):
    ablation.main([*options, "--seeds", "3", "--variants", "block 32"])
    program, script, *words = shlex.split(
        results.read(tmp_path / "found.json").command
    )
    assert (program, script) == ("python", "benchmarks/ablation.py")
    again = ablation.make_parser().parse_args(words)
    asked = ablation.make_parser().parse_args(options)
    assert again.seeds == [3]
    assert again.variants == ["block 32"]
    assert again.batch_norm_rates == list(ablation.BATCH_NORM_RATES)
    for name in ("epochs", "batch_size", "widths", "learning_rate"):
        assert getattr(again, name) == getattr(asked, name)


def test_summary(ablation, results, tmp_path, capsys):
    records = [
        make_record("batch normalization, rate 0.1", 0, 0.5, 90.0),
        make_record("batch normalization, rate 0.05", 0, 0.6, 100.0),
        make_record("batch normalization, rate 0.05", 1, 0.7, 120.0),
        make_record("paper settings", 0, 0.8, 220.0),
        make_record("paper settings", 1, 0.1, 1e6, diverged=True),
        make_record("paper settings", 2, 0.9, 330.0),
        make_record("D every 4th step", 0, 0.8, 220.0),
    ]
    path = tmp_path / "found.json"
    results.write(path, ablation.QUESTION, "python ablation.py", records)
    ablation.main(["--summary", "--output", str(path)])
    printed = capsys.readouterr().out
    assert printed.startswith(f"## {ablation.QUESTION}\n")
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert rows[0] == (
        "| variant | test accuracy, mean | lowest and highest | cost per step "
        "| cost, last quarter | seeds | diverged |"
    )
    assert rows[2:] == [
        "| batch normalization, rate 0.1 | 50.0% | 50.0 to 50.0% | 0.82 "
        "| 0.82 | 1 | 0 |",
        "| batch normalization, rate 0.05 (best of the rates) | 65.0% "
        "| 60.0 to 70.0% | 1.00 | 1.00 | 2 | 0 |",
        "| paper settings | 60.0% | 10.0 to 90.0% | 3.00 | 3.00 | 3 | 1 |",
        "| D every 4th step | 80.0% | 80.0 to 80.0% | 2.00 | 1.00 | 1 | 0 |",
    ]


def test_summary_without_batch_normalization(ablation):
    (row,) = ablation.summary([make_record("block 32")]).splitlines()[2:]
    assert row == "| block 32 | 50.0% | 50.0 to 50.0% |  |  | 1 | 0 |"


def test_summary_of_runs_without_the_late_mean(ablation):
    record = make_record("batch normalization, rate 0.1")
    del record["ms per step, last quarter"]
    (row,) = ablation.summary([record]).splitlines()[2:]
    assert row.endswith("| 1.00 |  | 1 | 0 |")


def test_times_of_a_run(ablation, monkeypatch):
    seconds = [9.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 5.0]
    monkeypatch.setattr(ablation, "build", lambda *args: None)
    monkeypatch.setattr(ablation, "train", lambda *args: ([3.0] * 8, seconds))
    monkeypatch.setattr(ablation, "accuracy", lambda *args: 0.5)
    data = ablation.Dataset(*(np.zeros((8, 8, 8, 3)), np.zeros(8)) * 2)
    training = ablation.Training(data, "vgg", (2,), batch_size=4, steps=8)
    record = ablation.run(ablation.Variant("any", 0.1), training, seed=0)
    assert record["ms per step"] == 2000
    assert record["ms per step, last quarter"] == 3000


def test_divergence_ends_the_training(ablation, monkeypatch):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    losses = iter([2.0, float("nan"), 3.0])
    monkeypatch.setattr(model, "train_on_batch", lambda *args: next(losses))
    monkeypatch.setattr(ablation, "build", lambda *args: model)
    data = ablation.Dataset(*(np.zeros((8, 8, 8, 3)), np.zeros(8)) * 2)
    training = ablation.Training(data, "vgg", (2,), batch_size=4, steps=3)
    record = ablation.run(ablation.Variant("any", 0.1), training, seed=0)
    assert record["diverged"] is True
    assert record["final loss"] is None
    assert next(losses) == 3.0


def test_same_kernels_for_a_seed(ablation):
    data = ablation.Dataset(*(np.zeros((1, 8, 8, 3)), np.zeros(1)) * 2)
    training = ablation.Training(data, "vgg", (2,), batch_size=1, steps=1)
    variants = ablation.make_variants(["block 16"], 0.1, [0.05])
    kernels = [
        [
            keras.ops.convert_to_numpy(layer.kernel)
            for layer in ablation.build(variant, training, 7).layers
            if hasattr(layer, "kernel")
        ]
        for variant in variants
    ]
    for plain, deconvolved in zip(*kernels, strict=True):
        np.testing.assert_array_equal(plain, deconvolved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--epochs", "0"], "at least one step; got 0 epochs of 4 steps"),
        (["--batch-size", "0"], "at least one image; got 0"),
        (["--batch-size", "33"], "got 33 for 32 images"),
        (["--data-dir", "."], "must hold cifar10.npz"),
        (["--output", "found.txt"], "must be NAME.json; got found.txt"),
        (["--variants", "block 8"], "invalid choice: 'block 8'"),
    ],
)
def test_wrong_arguments(ablation, options, add_run, capsys, change, message):
    with pytest.raises(SystemExit):
        ablation.main([*options, *change])
    assert message in capsys.readouterr().err
    assert not add_run


def test_summary_of_nothing(ablation, tmp_path, capsys):
    with pytest.raises(SystemExit):
        ablation.main(["--summary", "--output", str(tmp_path / "no.json")])
    assert "found no" in capsys.readouterr().err

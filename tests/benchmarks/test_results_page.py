import importlib
import json
import shutil

import numpy as np
import pytest


@pytest.fixture
def page(results):
    # `results` puts the examples on the path.
    return importlib.import_module("results")


@pytest.fixture
def training(page):
    return importlib.import_module("_training_results")


@pytest.fixture
def records(results):
    return importlib.import_module("_records")


def run(records, folder, **changes):
    """Writes the line and the log of a run."""
    row = {
        "experiment": "table 1",
        "network": "vgg16",
        "dataset": "cifar10",
        "norm": "batch",
        "preset": "",
        "epochs": "1",
        "batch size": "128",
        "learning rate": "0.1",
        "weight decay": "0.001",
        "seed": "0",
        "precision": "float32",
        "distributed": "no",
        "image size": "",
        "network arguments": "",
        "num iterations": "",
        "epsilon": "",
        "steps per epoch": "",
        "backend": "torch",
        "final test accuracy": "0.5",
        "best test accuracy": "0.5",
        "train loss": "1.5",
        "seconds": "120",
        "diverged": "no",
        "versions": "keras 3.15.1, torch 2.13.0",
        "device": "a fast GPU",
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc",
        **changes,
    }
    row["command"] = (
        f"python train.py --network {row['network']} --norm {row['norm']} "
        f"--epochs {row['epochs']} --seeds {row['seed']}"
    )
    row["run"] = f"run{len(records.read(folder / 'results.csv'))}"
    (folder / row["run"]).mkdir(parents=True)
    log = "epoch,loss,val_accuracy\n" + "".join(
        f"{epoch},{2 - epoch},{0.1 * epoch}\n"
        for epoch in range(int(row["epochs"]))
    )
    (folder / row["run"] / "log.csv").write_text(log)
    records.append(folder / "results.csv", row)


def write(page, tmp_path):
    page.main(
        [
            *("--outputs", str(tmp_path / "outputs")),
            *("--logs", str(tmp_path / "logs")),
            *("--docs", str(tmp_path / "docs")),
        ]
    )
    return (tmp_path / "docs" / "results.md").read_text()


def test_nothing_has_been_run(page, tmp_path):
    text = write(page, tmp_path)
    assert text.count("Not run yet.") == len(page.SECTIONS)
    assert "%" not in text
    assert "python examples/train_cifar.py --all --data-dir DIR" in text


def test_tables_and_curves(page, records, tmp_path):
    folder = tmp_path / "outputs" / "train_cifar"
    deconv = {"norm": "deconv", "preset": "paper"}
    run(records, folder)
    run(records, folder, seed="1", **{"final test accuracy": "0.6"})
    run(records, folder, **deconv, **{"final test accuracy": "0.7"})
    run(records, folder, network="other", **deconv, diverged="yes")
    run(records, folder, epochs="20", **deconv)
    # Neither the whole epoch, nor of this table.
    run(records, folder, **{"steps per epoch": "3", "seed": "7"})
    run(records, folder, experiment="table 4", seed="8")
    text = write(page, tmp_path)
    lines = text.splitlines()
    assert "**cifar10, 1 epoch**" in lines
    assert "**cifar10, 20 epochs**" in lines
    assert (
        "| vgg16 | batch normalization | 0.1 | 55.00 % (50.00 to 60.00) |  "
        "| 2 | 0 | 2 |" in lines
    )
    assert (
        '| vgg16 | deconvolution, "paper" | 0.1 | 70.00 % | 74.18 % '
        "| 1 | 0 | 2 |" in lines
    )
    assert (
        '| other | deconvolution, "paper" | 0.1 | 50.00 % |  | 1 | 1 | 2 |'
        in lines
    )
    # One line for what differs by seeds or networks alone.
    assert (
        "python train.py --norm batch --epochs 1 --network vgg16 --seeds 0 1"
        in lines
    )
    assert (
        "python train.py --norm deconv --epochs 1 --network vgg16 other "
        "--seeds 0" in lines
    )
    assert "--seeds 7" not in text
    assert "a fast GPU; keras 3.15.1, torch 2.13.0; commit abc" in text
    (image,) = (tmp_path / "docs" / "images" / "results").iterdir()
    assert image.read_bytes().startswith(b"\x89PNG")
    assert f"(images/results/{image.name})" in text
    assert " " not in image.name
    assert text.count("Not run yet.") == len(page.SECTIONS) - 2


def test_logs_are_kept(page, records, tmp_path):
    """The page can be made without outputs; newer runs replace older ones."""
    folder = tmp_path / "outputs" / "train_cifar"
    run(records, folder, epochs="2")
    run(records, folder, network="resnet18", epochs="2")
    (folder / "mlp.png").write_bytes(b"not of this script")
    mlp = tmp_path / "outputs" / "mlp"
    mlp.mkdir()
    (mlp / "test.csv").write_text(
        "objective,network,learning_rate,seed,step,loss,accuracy\n"
        "L2,plain,0.1,0,1,3.0,0.1\n"
    )
    (mlp / "mlp.png").write_bytes(b"picture")
    # Cut short, without the file that is written at the end.
    assert "![mlp]" not in write(page, tmp_path)
    environment = importlib.import_module("_environment")
    environment.record(mlp, "python mlp.py")
    first = write(page, tmp_path)
    shutil.rmtree(tmp_path / "outputs")
    assert write(page, tmp_path) == first
    assert "![mlp](images/results/mlp-mlp.png)" in first
    copied = tmp_path / "docs" / "images" / "results" / "mlp-mlp.png"
    assert copied.read_bytes() == b"picture"
    # Another machine trains the first of them anew.
    run(records, folder, epochs="2", **{"final test accuracy": "0.7"})
    text = write(page, tmp_path)
    assert text.count("| vgg16 |") == first.count("| vgg16 |") == 1
    assert "| vgg16 | batch normalization | 0.1 | 70.00 % |" in text
    assert "| resnet18 | batch normalization | 0.1 | 50.00 % |" in text


def test_the_page_is_what_the_logs_say(page, tmp_path):
    kept = page.LOGS.parent.parent / "docs"
    shutil.copytree(kept / "images", tmp_path / "images")
    page.main(["--outputs", "--docs", str(tmp_path)])
    made = (tmp_path / "results.md").read_text()
    assert made == (kept / "results.md").read_text()


def test_a_note_goes_below_its_table(page, records, tmp_path):
    logs = tmp_path / "logs" / "train_cifar"
    run(records, logs, epochs="20")
    run(records, logs, experiment="table 4")
    (logs / "table-1.md").write_text("Of two cores.\n")
    # Without its log, a run has a line and no curve.
    shutil.rmtree(logs / "run0")
    text = write(page, tmp_path)
    before, after = text.split("Of two cores.\n")
    assert "## Table 4" in after
    assert "| vgg16 |" in before
    assert ".png" not in text


def test_commands_are_not_joined_beyond_what_was_run(training):
    commands = [
        "python a.py --network x --seeds 0",
        "python a.py --network x --seeds 1",
        "python a.py --network y --seeds 0",
    ]
    assert training.join_commands(commands) == [
        "python a.py --network x --seeds 0 1",
        "python a.py --network y --seeds 0",
    ]
    assert training.join_commands(["python a.py --fast"]) == [
        "python a.py --fast"
    ]


def test_other_logs(page, results, tmp_path):
    folder = tmp_path / "logs" / "mlp"
    folder.mkdir(parents=True)
    (folder / "test.csv").write_text(
        "objective,network,learning_rate,seed,step,loss,accuracy\n"
        "L2,plain,0.1,0,1,3.0,0.1\n"
        "L2,plain,0.1,0,2,2.0,0.3\n"
        "L2,plain,0.1,1,2,1.0,0.5\n"
    )
    numbers = tmp_path / "outputs" / "kernels_and_sparsity"
    numbers.mkdir(parents=True)
    (numbers / "numbers.csv").write_text("what,before,after\npixels,1.5,2\n")
    environment = importlib.import_module("_environment")
    environment.record(numbers, "python kernels.py")
    assert json.loads((numbers / "run.json").read_text())["command"]
    text = write(page, tmp_path)
    assert "| L2 | plain | 0.1 | 1.5 | 40.00 % (30.00 to 50.00) | 2 |" in text
    assert "were not recorded" in text
    assert "| pixels | 1.5 | 2 |" in text
    assert "python kernels.py" in text


def test_curves_are_means(training, records, tmp_path):
    for seed in (0, 1):
        run(records, tmp_path, epochs="2", seed=str(seed))
    runs = training.read_runs(tmp_path, "table 1")
    figure = training.draw(runs, tmp_path, "title")
    accuracy, loss = figure.axes
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [0, 0.1])
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [2, 1])


def test_settings_are_not_mixed(training, records, tmp_path):
    run(records, tmp_path, epsilon="0.01")
    run(records, tmp_path, epsilon="0.1", **{"final test accuracy": "0.7"})
    runs = training.read_runs(tmp_path, "table 1")
    first, second = training.accuracy_rows(runs, {})
    assert (first["epsilon"], first["test accuracy"]) == ("0.01", "50.00 %")
    assert (second["epsilon"], second["test accuracy"]) == ("0.1", "70.00 %")
    assert "backend" not in first

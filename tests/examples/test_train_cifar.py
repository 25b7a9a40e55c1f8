import collections
import csv
import importlib
import shlex

import keras
import numpy as np
import pytest


@pytest.fixture
def script():
    return importlib.import_module("train_cifar")


@pytest.fixture
def plan(script):
    """Returns a function: words of a command line to its runs."""

    def make(*words):
        return script.plan(script.options_parser().parse_args(words))

    return make


@pytest.fixture
def data_dir(tmp_path, rng):
    for name, classes in (("cifar10", 10), ("cifar100", 100)):
        np.savez(
            tmp_path / f"{name}.npz",
            x_train=rng.integers(0, 256, (24, 8, 8, 3), np.uint8),
            y_train=np.arange(classes - 24, classes)[:, None],
            x_test=rng.integers(0, 256, (10, 8, 8, 3), np.uint8),
            y_test=rng.integers(0, classes, (10, 1)),
        )
    return tmp_path


def test_one_network(plan):
    batch, deconv = plan("--network", "resnet18", "--epochs", "20")
    assert (batch.norm, deconv.norm) == ("batch", "deconv")
    assert (batch.preset, deconv.preset) == (None, "paper")
    assert batch.experiment == "table 1"
    assert batch.batch_size == 128
    assert batch.learning_rate == 0.1
    assert batch.weight_decay == 0.001
    assert batch.epochs == 20


def test_rates_of_batch_normalization_alone(plan):
    runs = plan("--batch-norm-rates", "0.1", "0.05", "--seeds", "0", "1")
    found = [(run.seed, run.norm, run.learning_rate) for run in runs]
    assert found == [
        (seed, *rest)
        for seed in (0, 1)
        for rest in (("batch", 0.1), ("batch", 0.05), ("deconv", 0.1))
    ]


def test_table_1(script, plan, data_dir, monkeypatch):
    seen = []
    monkeypatch.setattr(script, "run_all", lambda tasks, *_: seen.extend(tasks))
    script.main(["--all", "--batch-size", "8", "--data-dir", str(data_dir)])
    runs = [experiment for experiment, _ in seen]
    assert len(runs) == len(set(runs)) == 10 * 2 * 3 * 2
    assert collections.Counter(run.epochs for run in runs) == {
        1: 40,
        20: 40,
        100: 40,
    }
    # The short runs come first.
    assert [run.epochs for run in runs] == sorted(run.epochs for run in runs)
    # What has been run by name counts.
    assert plan("--network", "dpn92", "--batch-size", "8")[0] in runs


def test_table_4(plan):
    runs = plan("--table", "4", "--norm", "deconv")
    assert [
        (run.batch_size, run.learning_rate, run.epsilon, run.num_iterations)
        for run in runs
    ] == [
        (2, 0.001, 0.01, 2),
        (8, 0.01, 0.01, 2),
        (128, 0.1, None, None),
        (512, 0.5, None, None),
    ]
    assert {run.experiment for run in runs} == {"table 4"}
    batch, deconv = plan("--table", "4", "--batch-size", "2")
    assert (batch.epsilon, batch.num_iterations) == (None, None)
    assert (batch.learning_rate, deconv.learning_rate) == (0.001, 0.001)


@pytest.mark.parametrize("size", ["32", "2048"])
def test_rates_that_are_not_known(plan, size):
    with pytest.raises(ValueError, match=f"needs --learning-rate.*{size}"):
        plan("--table", "4", "--batch-size", size)
    runs = plan("--table", "4", "--batch-size", size, "--learning-rate", "0.7")
    assert {run.learning_rate for run in runs} == {0.7}


def test_figure_8(plan):
    runs = plan("--figure", "8", "--norm", "deconv")
    assert [run.weight_decay for run in runs] == [0.005, 0.0005]
    assert {run.experiment for run in runs} == {"figure 8"}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--data", "cifar100", "--preset", "fast", "--epsilon", "0.001"],
        ["--table", "4", "--batch-size", "8"],
        ["--figure", "8", "--mixed-precision", "--distributed"],
        ["--mixed-precision", "float16", "--steps-per-epoch", "7"],
        ["--weight-decay", "0", "--batch-norm-rates", "0.02", "0.05"],
    ],
)
def test_command_makes_the_run_again(script, plan, words):
    for run in plan(*words):
        program, path, *rest = shlex.split(script.make_command(run))
        assert (program, path) == ("python", "examples/train_cifar.py")
        assert plan(*rest) == [run]


def test_batches(script, data_dir, plan):
    images = script.Images.load("cifar10", data_dir)
    (run,) = plan("--norm", "batch", "--batch-size", "8")
    train, test = script.make_batches(images, run)
    assert len(train) == 3
    x, y = train[0]
    assert (x.shape, y.shape) == ((8, 8, 8, 3), (8,))
    x, y = test[0]
    np.testing.assert_array_equal(y, images.data.y_test[:, 0])
    raw = images.data.x_train.astype(float)
    expected = (images.data.x_test - raw.mean((0, 1, 2))) / raw.std((0, 1, 2))
    np.testing.assert_allclose(x, expected, atol=1e-5)


def tiny(num_classes, input_shape):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Conv2D(4, 3, 4, name="stem"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(num_classes, name="head"),
        ]
    )


@pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="a smoke test on one backend; others run other examples",
)
def test_train_cifar(script, data_dir, monkeypatch):
    monkeypatch.setattr(script.models, "vgg11", tiny)
    assert len(keras.distribution.list_devices("cpu")) == 2
    output = data_dir / "results"
    arguments = [
        *("--network", "vgg11", "--data", "cifar100", "--batch-size", "8"),
        *("--data-dir", str(data_dir), "--output", str(output)),
        *("--distributed", "--mixed-precision", "bfloat16"),
    ]
    script.main(arguments)
    with (output / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["norm"] for row in rows] == ["batch", "deconv"]
    assert {row["dataset"] for row in rows} == {"cifar100"}
    assert {row["precision"] for row in rows} == {"bfloat16"}
    assert all(np.isfinite(float(row["train loss"])) for row in rows)
    assert keras.distribution.distribution() is None
    script.main(arguments)
    assert (output / "results.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "resnet19"], "invalid choice: 'resnet19'"),
        (["--batch-size", "25"], "batch_size=25 for 24 images"),
        (["--table", "4", "--batch-size", "16"], "Received: --batch-size 16"),
        (["--all", "--figure", "8"], "not allowed with"),
        (["--all", "--network", "vgg11"], "--all takes no --network"),
        (["--all", "--epochs", "3"], "--all takes no --epochs"),
        (["--weight-decay", "-1"], "invalid non_negative value"),
    ],
)
def test_wrong_arguments(script, data_dir, words, message, capsys):
    with pytest.raises(SystemExit):
        script.main([*words, "--data-dir", str(data_dir)])
    assert message in capsys.readouterr().err


def test_distributed_torch(script, data_dir, capsys):
    if keras.backend.backend() != "torch":
        pytest.skip("the other backends have it")
    with pytest.raises(SystemExit):
        script.main(
            [
                *("--distributed", "--batch-size", "8"),
                *("--data-dir", str(data_dir)),
            ]
        )
    assert "examples/distributed_torch.py" in capsys.readouterr().err

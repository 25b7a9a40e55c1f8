import importlib

import keras
import numpy as np
import pytest

TINY = [
    *("--dataset", "mnist"),
    *("--steps", "3"),
    *("--batch-size", "8"),
    *("--widths", "2"),
    *("--learning-rates", "0.1"),
]

not_on_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="gradients of convolutions are slow in JAX on a CPU",
)


@pytest.fixture
def quickstart():
    return importlib.import_module("quickstart")


@pytest.fixture
def data_dir(tmp_path, rng):
    np.savez(
        tmp_path / "mnist.npz",
        x_train=rng.integers(0, 256, (20, 8, 8), np.uint8),
        y_train=rng.integers(0, 10, 20, np.uint8),
        x_test=rng.integers(0, 256, (10, 8, 8), np.uint8),
        y_test=rng.integers(0, 10, 10, np.uint8),
    )
    return tmp_path


@not_on_jax
def test_quickstart(quickstart, data_dir, capsys):
    output = data_dir / "new" / "curves.png"
    quickstart.main(
        [*TINY, "--data-dir", str(data_dir), "--output", str(output)]
    )
    printed = capsys.readouterr().out
    assert "3 steps" in printed
    assert printed.count("batch normalization  ") >= 2
    assert "network deconvolution, folded" in printed
    assert output.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "imagenet"], "invalid choice: 'imagenet'"),
        (["--data-dir", "."], "the sample is embedded"),
        (["--dataset", "mnist", "--data-dir", "."], "must hold mnist.npz"),
        (["--batch-size", "3001"], "got 3001 for 3000 images"),
        (["--epochs", "0"], "invalid positive float value: '0'"),
        (["--learning-rates", "nan"], "invalid positive float value: 'nan'"),
    ],
)
def test_wrong_arguments(quickstart, arguments, message, capsys):
    with pytest.raises(SystemExit):
        quickstart.main(arguments)
    assert message in capsys.readouterr().err


def test_both_networks_start_from_the_same_kernels(quickstart):
    comparison = importlib.import_module("_comparison")
    data = importlib.import_module("_datasets").Dataset(
        *(np.zeros((1, 8, 8, 3)), np.zeros(1)) * 2
    )
    settings = comparison.Settings((4,), batch_size=1, steps=1, seeds=(0,))
    kernels = [
        [
            keras.ops.convert_to_numpy(layer.kernel)
            for layer in comparison.build(network, data, settings, 7).layers
            if hasattr(layer, "kernel")
        ]
        for network in (comparison.BATCH_NORM, comparison.DECONV)
    ]
    assert len(kernels[0]) == 3
    for plain, deconv in zip(*kernels, strict=True):
        np.testing.assert_array_equal(plain, deconv)


def test_batches_depend_on_the_seed_alone(quickstart):
    training = importlib.import_module("_training")
    orders = [training.batches(10, 4, seed) for seed in (0, 0, 1)]
    first, same, other = ([next(o) for _ in range(4)] for o in orders)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    # Two full batches make an epoch; no image comes twice in it.
    assert len(np.unique(first[:2])) == 8


def test_disagreement_is_an_error(quickstart):
    inference = importlib.import_module("_inference")
    models = [
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        for _ in range(2)
    ]
    images = np.ones((1, 2), np.float32)
    with pytest.raises(RuntimeError, match="must agree"):
        inference.check_agreement(*models, images)
    assert inference.check_agreement(models[0], models[0], images) == 0


@not_on_jax
def test_loss_is_the_mean_of_its_steps(quickstart, data_dir, monkeypatch):
    training = importlib.import_module("_training")
    data = importlib.import_module("_datasets").load("mnist", data_dir)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    step = iter(range(1, 9))
    monkeypatch.setattr(
        model, "train_on_batch", lambda images, labels: next(step)
    )
    run = training.train(
        model,
        data,
        learning_rate=0.1,
        batch_size=5,
        steps=8,
        seed=0,
        on_step=lambda: None,
    )
    assert run.epochs == [0.5, 1, 1.5, 2]
    assert run.losses == [1.5, 3.5, 5.5, 7.5]

"""The code in the README runs as it stands there."""

import ast
import pathlib
import re

import keras
import numpy as np
import pytest

import keras_deconv

README = pathlib.Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.S)


def run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {
        "keras": keras,
        "keras_deconv": keras_deconv,
        "x_train": np.random.default_rng(0).normal(size=(66, 32, 32, 3)),
        "y_train": np.arange(66) % 10,
    }
    exec(code, names)
    return names


def test_sequential(tmp_path, monkeypatch):
    names = run(BLOCKS[0], tmp_path, monkeypatch)
    plain = keras.models.load_model(tmp_path / "plain.keras")
    assert plain.output_shape == names["model"].output_shape == (None, 10)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="keras-cv imports TensorFlow on every backend",
)
def test_keras_cv_backbone(tmp_path, monkeypatch):
    names = run(BLOCKS[1], tmp_path, monkeypatch)
    kinds = {type(layer).__name__ for layer in names["model"].layers}
    assert "DeconvConv2D" in kinds
    assert "BatchNormalization" not in kinds
    assert names["model"].output_shape == (None, 10)


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="a MobileNetV2 takes other backends too long",
)
def test_rules_and_warm_start(tmp_path, monkeypatch):
    code = f"{BLOCKS[2]}\nby_rules = twin\n{BLOCKS[3]}"
    names = run(code, tmp_path, monkeypatch)
    by_rules = names["by_rules"]
    assert by_rules.get_layer("Conv1").num_iterations == 15
    assert by_rules.get_layer("block_1_depthwise").num_iterations == 1
    assert type(by_rules.get_layer("block_12_expand")) is keras.layers.Conv2D
    images = names["x_train"]
    plain = names["model"].predict(images, verbose=0)
    twin = names["twin"].predict(images, verbose=0)
    np.testing.assert_allclose(twin, plain, atol=1e-5)


def test_every_block_is_tested():
    assert len(BLOCKS) == 4


def test_names_the_defaults():
    """The table of arguments says what the layer's defaults are."""
    layer = keras_deconv.DeconvConv2D(1, 1)
    text = README.read_text("utf-8")
    table = text[text.index("| argument | default |") :].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", table, re.M))
    assert rows.keys() == keras_deconv.DeconvConv2D.setting_names()
    for name, default in rows.items():
        shown = ast.literal_eval(default.strip("`"))
        assert shown == getattr(layer, name)

"""The recipes of docs/deployment.md run as they stand there.

What each runtime computes is compared with what Keras predicts, for a folded
model and for one that is not.
"""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from keras import layers

import compare
import keras_deconv
import saved_model

pytestmark = [
    # Converters warn of their own affairs.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15),
        reason="the page is about Keras 3.15",
    ),
]

BACKEND = keras.backend.backend()
ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
TOLERANCE = 1e-4
# What the converter and the runtime of a recipe need.
MODULES = {
    "SavedModel": ["tensorflow"],
    "ONNX": ["onnxruntime", "tf2onnx" if BACKEND == "tensorflow" else "onnx"],
    "OpenVINO": ["openvino"],
    "LiteRT": ["ai_edge_litert"],
    "torch.export": ["torch"],
}
# Where Keras exports nothing, and what it says instead.
REFUSED = {
    ("SavedModel", "torch"): "mismatch between the structure of `inputs`",
    ("LiteRT", "torch"): "you must install the `litert-torch` package",
    ("torch.export", "tensorflow"): "Torch export requires PyTorch backend",
    ("torch.export", "jax"): "Torch export requires PyTorch backend",
    ("ONNX", "jax"): "This requires the jax2onnx module",
    ("OpenVINO", "jax"): "XlaCallModule",
    ("LiteRT", "jax"): "LiteRT export requires TensorFlow or PyTorch backend",
}
# With these installed, Keras may well export.
OPTIONAL = {("LiteRT", "torch"): "litert_torch", ("ONNX", "jax"): "jax2onnx"}


def section(title):
    """Returns what stands under a heading of the page."""
    _, _, rest = PAGE.partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def blocks(title, language="python"):
    """Returns the code under a heading of the page."""
    return re.findall(rf"```{language}\n(.*?)```", section(title), re.S)


def run(title, model, images, package=keras_deconv):
    """Returns the names that a recipe leaves behind."""
    names = {
        "keras": keras,
        "keras_deconv": package,
        "model": model,
        "images": images,
    }
    for block in blocks(title):
        exec(block, names)
    return names


def require(title):
    """Skips a test whose modules are not here, or make it pointless."""
    for module in MODULES[title]:
        pytest.importorskip(module)
    optional = OPTIONAL.get((title, BACKEND))
    if optional and importlib.util.find_spec(optional):
        pytest.skip(f"{optional} is installed")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """A model with statistics such as training leaves."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras_deconv.DeconvConv2D(4, 3, padding="same", activation="relu")(
        inputs
    )
    x = layers.MaxPooling2D()(x)
    x = keras_deconv.DeconvSeparableConv2D(6, 3, strides=2, padding="same")(x)
    x = keras_deconv.ChannelDeconv(block_size=4)(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras_deconv.DeconvDense(5)(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if not isinstance(layer, keras_deconv.layers.Whitening):
            continue
        for statistics in layer.all_statistics():
            mean, deconv = statistics.moving
            noise = 0.1 * rng.normal(size=deconv.shape)
            statistics.assign(
                rng.normal(size=mean.shape),
                np.eye(deconv.shape[-1]) + noise + noise.swapaxes(1, 2),
            )
    return model


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def check(title, model, images, package):
    outputs = run(title, model, images, package)["outputs"]
    expected = model.predict(images, verbose=0)
    assert np.abs(expected).max() > 0.1
    compare.assert_close(outputs, expected, TOLERANCE)


@pytest.mark.parametrize("title", MODULES)
def test_folded_model(title, model, images):
    require(title)
    if (title, BACKEND) in REFUSED:
        refused = REFUSED[title, BACKEND]
        with pytest.raises(Exception, match=re.escape(refused)):
            run(title, model, images)
        # What the page says is what Keras says.
        assert refused in PAGE.replace("\n", " ")
        return
    check(title, model, images, keras_deconv)


@pytest.mark.parametrize("title", MODULES)
def test_model_that_is_not_folded(title, model, images):
    require(title)
    if (title, BACKEND) in REFUSED:
        pytest.skip("Keras exports no model so on this backend")
    check(title, model, images, types.SimpleNamespace(fold=lambda m: m))


def test_int8_of_dense_layers(model, images):
    names = run_first("int8", model, images)
    policies = {
        type(layer).__name__: layer.dtype_policy.name
        for layer in names["folded"].layers
        if layer.weights
    }
    assert policies["Dense"].startswith("int8")
    assert policies["Conv2D"] == policies["SeparableConv2D"] == "float32"
    expected = model.predict(images, verbose=0)
    compare.assert_close(names["outputs"], expected, 0.05)


def run_first(title, model, images):
    names = {"keras_deconv": keras_deconv, "model": model, "images": images}
    exec(blocks(title)[0], names)
    return names


def test_int8_skips_what_is_not_folded(model):
    copy = keras.models.clone_model(model)
    with pytest.warns(UserWarning, match="fold it first"):
        copy.quantize("int8")


@pytest.mark.skipif(BACKEND != "torch", reason="one ONNX file is enough")
def test_int8_of_convolutions(model, images):
    require("ONNX")
    expected = model.predict(images, verbose=0)
    run("ONNX", model, images)
    names = {"images": images}
    exec(blocks("int8")[1], names)
    error = names["outputs"] - expected
    assert 0 < np.linalg.norm(error) < 0.2 * np.linalg.norm(expected)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="it needs no other one")
def test_model_of_another_backend(model, images):
    require("LiteRT")
    pytest.importorskip("tensorflow")
    run("From another backend", model, images)
    (command,) = blocks("From another backend", "sh")
    code = re.search(r'python -c "\n(.*)"', command, re.S)[1]
    assert command.startswith("KERAS_BACKEND=tensorflow ")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {"images": images}
    exec(blocks("LiteRT")[1], names)
    expected = model.predict(images, verbose=0)
    compare.assert_close(names["outputs"], expected, TOLERANCE)


@pytest.mark.skipif(BACKEND == "torch", reason="there it needs no recipe")
def test_training_goes_on_from_pytorch(tmp_path):
    folder = ROOT / "tests" / "data" / "models"
    shutil.copy(folder / "torch.keras", tmp_path / "from_torch.keras")
    # What the page says of Keras; once it works, the recipe can go.
    model = keras.models.load_model("from_torch.keras")
    with pytest.raises((TypeError, AttributeError)):
        saved_model.train(model)
    names = {"keras": keras}
    (code,) = blocks("Going on with the training of a model from PyTorch")
    exec(code, names)
    model, optimizer = names["model"], names["optimizer"]
    assert int(optimizer.iterations) == 2
    assert any(
        np.abs(keras.ops.convert_to_numpy(variable)).max() > 1e-6
        for variable in optimizer.variables[2:]
    )
    before = model.get_layer("conv").get_weights()[0]
    saved_model.train(model)
    assert int(optimizer.iterations) == 4
    assert np.abs(model.get_layer("conv").get_weights()[0] - before).max() > 0


def test_every_recipe_is_tested():
    headings = re.findall(r"^## (.*)$", PAGE, re.M)
    with_code = {title for title in headings if "```python" in section(title)}
    assert with_code == {
        *MODULES,
        "int8",
        "From another backend",
        "Going on with the training of a model from PyTorch",
    }

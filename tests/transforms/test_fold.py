import keras
import numpy as np
import pytest

import compare
import keras_deconv
import networks
from keras_deconv import deconvolutionize
from keras_deconv import fold


@pytest.fixture(
    params=networks.ALL.values(), ids=networks.ALL.keys(), scope="module"
)
def trained(request):
    """A deconvolved network whose statistics are those of some batches."""
    twin = deconvolutionize(request.param(), momentum=0.5)
    for seed in range(3):
        twin(networks.inputs_of(twin, seed), training=True)
    return twin


def test_folded_model_predicts_the_same_with_plain_layers(trained):
    plain = fold(trained)
    inputs = networks.inputs_of(trained, seed=9)
    expected = networks.flat(trained(inputs))
    compare.assert_close(networks.flat(plain(inputs)), expected)
    for layer in networks.all_layers(plain):
        assert type(layer).__module__.split(".")[0] == "keras"
    assert [la.name for la in plain.layers] == [
        la.name for la in trained.layers
    ]


def test_folding_leaves_the_model_untouched(trained):
    inputs = networks.inputs_of(trained)
    weights, expected = trained.get_weights(), networks.flat(trained(inputs))
    plain = fold(trained)
    networks.randomize(plain)
    for now, before in zip(trained.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, before)
    np.testing.assert_array_equal(networks.flat(trained(inputs)), expected)


def test_folded_model_needs_keras_alone(trained, tmp_path):
    plain = fold(trained)
    plain.save(tmp_path / "plain.keras")
    loaded = keras.models.load_model(tmp_path / "plain.keras")
    inputs = networks.inputs_of(trained)
    np.testing.assert_array_equal(
        networks.flat(loaded(inputs)), networks.flat(plain(inputs))
    )


def test_plain_model_folds_to_a_copy():
    model = networks.nested()
    networks.randomize(model)
    inputs = networks.inputs_of(model)
    np.testing.assert_array_equal(
        networks.flat(fold(model)(inputs)), networks.flat(model(inputs))
    )


def test_batch_normalization_stays():
    names = [la.name for la in networks.all_layers(fold(networks.sequential()))]
    assert "norm" in names


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="torch alone has a state_dict"
)
def test_torch_knows_the_weights_of_a_folded_model():
    """Exporters and checkpoints of torch ask for no more than this."""
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, keras_deconv.DeconvConv2D(2, 3)(inputs))
    plain = fold(model)
    state = plain.state_dict(keep_vars=True)
    assert {id(value) for value in state.values()} == {
        id(weight.value) for weight in plain.weights
    }

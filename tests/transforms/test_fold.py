import keras
import numpy as np
import pytest
from keras import layers

import compare
import containers
import keras_deconv
import networks
from keras_deconv import DeconvConv2D
from keras_deconv import deconvolutionize
from keras_deconv import fold
from keras_deconv import restore


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


class Doubled(DeconvConv2D):
    """Computes something of its own."""

    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


class Halved(Doubled):
    """Folds so, too."""

    def fold(self):
        plain = super().fold()
        for weight in plain.weights:
            weight.assign(2 * weight)
        return plain


class FewSteps(DeconvConv2D):
    """Has another default, and computes what its class computes."""

    def __init__(self, *args, num_iterations=2, **kwargs):
        super().__init__(*args, num_iterations=num_iterations, **kwargs)


@pytest.mark.parametrize("undo", [fold, restore])
def test_subclass_that_computes_something_else_is_left(undo):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), Doubled(4, 3, name="own"), DeconvConv2D(2, 3)]
    )
    model(containers.images(0), training=True)
    with pytest.warns(UserWarning, match=r"a `fold` too.*Left.*: own$"):
        folded = undo(model)
    assert [type(la) for la in folded.layers] == [Doubled, layers.Conv2D]
    compare.assert_close(
        folded(containers.images(0)), model(containers.images(0))
    )


@pytest.mark.parametrize("cls", [Halved, FewSteps])
def test_subclass_that_can_be_folded(cls):
    model = keras.Sequential([keras.Input((8, 8, 3)), cls(4, 3)])
    model(containers.images(0), training=True)
    folded = fold(model)
    assert type(folded.layers[0]) is layers.Conv2D
    compare.assert_close(
        folded(containers.images(0)), model(containers.images(0))
    )


def test_layer_with_weights_of_another_one_is_left():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.SpectralNormalization(keras_deconv.DeconvDense(3)),
        ]
    )
    with pytest.warns(UserWarning, match="weights another one has"):
        folded = keras_deconv.fold(model)
    assert isinstance(folded.layers[0].layer, keras_deconv.DeconvDense)


def test_nothing_to_restore_is_said():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    folded = keras_deconv.fold(keras_deconv.deconvolutionize(model))
    with pytest.warns(UserWarning, match="nothing to restore"):
        keras_deconv.restore(folded)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="parameters of PyTorch"
)
@pytest.mark.parametrize("finish", [fold, restore, lambda twin: twin])
def test_state_dict_is_the_same_before_parameters_are_asked_for(finish):
    model = containers.Classifier()
    model(np.zeros((1, 8, 8, 3), "float32"))
    found = finish(deconvolutionize(model))
    before = set(found.state_dict())
    assert list(found.parameters())
    assert set(found.state_dict()) == before


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="parameters of PyTorch"
)
@pytest.mark.parametrize(
    "make",
    [
        networks.sequential,
        networks.nested,
        networks.functional_in_sequential,
        containers.backbone_in_functional,
        containers.classifier,
    ],
)
def test_parameters_are_those_of_the_new_layers(make):
    twin = deconvolutionize(make())
    for each in (twin, fold(twin), restore(twin)):
        expected = {id(weight.value) for weight in each.weights}
        assert {id(found) for found in each.parameters()} == expected

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import compare
import keras_deconv
import networks
from keras_deconv import DeconvConv2D
from keras_deconv import deconvolutionize

TWINS = {
    layers.Conv1D: keras_deconv.DeconvConv1D,
    layers.Conv1DTranspose: keras_deconv.DeconvConv1DTranspose,
    layers.Conv2D: keras_deconv.DeconvConv2D,
    layers.Conv2DTranspose: keras_deconv.DeconvConv2DTranspose,
    layers.Conv3D: keras_deconv.DeconvConv3D,
    layers.Conv3DTranspose: keras_deconv.DeconvConv3DTranspose,
    layers.Dense: keras_deconv.DeconvDense,
    layers.DepthwiseConv1D: keras_deconv.DeconvDepthwiseConv1D,
    layers.DepthwiseConv2D: keras_deconv.DeconvDepthwiseConv2D,
    layers.SeparableConv1D: keras_deconv.DeconvSeparableConv1D,
    layers.SeparableConv2D: keras_deconv.DeconvSeparableConv2D,
}

NOTHING = "has nothing to convert"

each_network = pytest.mark.parametrize(
    "make", networks.ALL.values(), ids=networks.ALL.keys()
)


@each_network
def test_every_convolution_is_replaced_with_its_weights(make):
    model = make()
    networks.randomize(model)
    twin = deconvolutionize(model)
    new = {layer.name: layer for layer in networks.all_layers(twin)}
    assert new.keys() == {la.name for la in networks.all_layers(model)}
    for layer in networks.all_layers(model):
        other = new[layer.name]
        assert other is not layer
        if isinstance(layer, layers.BatchNormalization):
            assert type(other) is keras_deconv.RemovedNormalization
            continue
        assert type(other) is TWINS.get(type(layer), type(layer))
        weights = {weight.name: weight for weight in other.weights}
        for weight in layer.weights:
            assert weights[weight.name] is not weight
            np.testing.assert_array_equal(
                ops.convert_to_numpy(weights[weight.name]),
                ops.convert_to_numpy(weight),
            )


@each_network
def test_model_is_left_untouched(make):
    model = make()
    networks.randomize(model)
    inputs = networks.inputs_of(model)
    predictions = networks.flat(model(inputs))
    config = model.get_config()
    weights = model.get_weights()
    twin = deconvolutionize(model)
    twin(inputs, training=True)
    networks.randomize(twin, seed=1)
    assert model.get_config() == config
    for now, before in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, before)
    np.testing.assert_array_equal(networks.flat(model(inputs)), predictions)


@each_network
def test_twin_trains_and_survives_a_file(make, tmp_path):
    model = make()
    twin = deconvolutionize(model)
    assert twin.name == model.name
    assert not twin.compiled
    inputs = networks.inputs_of(model)
    targets = keras.tree.map_structure(
        lambda output: np.zeros(output.shape, "float32"), twin(inputs)
    )
    twin.compile(keras.optimizers.SGD(1e-3), "mse")
    twin.fit(inputs, targets, verbose=0)
    outputs = networks.flat(twin(inputs))
    assert np.isfinite(outputs).all()
    twin.save(tmp_path / "twin.keras")
    loaded = keras.models.load_model(tmp_path / "twin.keras")
    np.testing.assert_array_equal(networks.flat(loaded(inputs)), outputs)


@pytest.mark.parametrize(
    ("make", "name", "use_bias"),
    [
        (networks.sequential, "first", True),
        (networks.several_inputs_and_outputs, "on_left", True),
        (networks.several_inputs_and_outputs, "last", True),
        (networks.nested, "in_stem", True),
        (networks.pre_activation, "stem", True),
        (networks.pre_activation, "branch", False),
        (networks.depthwise, "depthwise", True),
        (networks.depthwise, "up", False),
    ],
)
def test_lost_normalization_leaves_a_bias(make, name, use_bias):
    layer = networks.layer_named(deconvolutionize(make()), name)
    assert layer.use_bias is use_bias
    if use_bias:
        assert not ops.convert_to_numpy(layer.bias).any()


def test_every_class_has_a_twin_that_folds_back():
    model = networks.every_class()
    twin = deconvolutionize(model, momentum=0.5, block_size=2)
    inputs = networks.inputs_of(model)
    twin(inputs, training=True)
    folded = keras_deconv.fold(twin)
    compare.assert_close(
        networks.flat(folded(inputs)), networks.flat(twin(inputs))
    )
    plain = [layer for layer in model.layers if type(layer) in TWINS]
    assert {type(layer) for layer in plain} == TWINS.keys()
    for layer in plain:
        deconv = twin.get_layer(layer.name)
        assert type(deconv) is TWINS[type(layer)]
        back = folded.get_layer(layer.name)
        if isinstance(layer, keras_deconv.layers.TRANSPOSED):
            centre, back = back.layers
            assert centre.name == f"{layer.name}_centre"
        assert type(back) is type(layer)
    assert twin.get_layer("conv1d").use_bias
    assert not any(
        isinstance(layer, layers.BatchNormalization) for layer in twin.layers
    )


def test_shared_layers_stay_shared():
    twin = deconvolutionize(networks.shared_layers())
    deconvs = [la for la in twin.layers if isinstance(la, DeconvConv2D)]
    assert len(deconvs) == 1
    first, second = networks.inputs_of(twin)
    deconvs[0].moving_mean.assign(ops.ones(deconvs[0].moving_mean.shape))
    a, b = twin([first, second]), twin([second, first])
    assert not np.allclose(networks.flat(a), networks.flat(b))


def test_structure_of_inputs_and_outputs_is_kept():
    model = networks.several_inputs_and_outputs()
    twin = deconvolutionize(model)
    assert twin.input.keys() == model.input.keys()
    assert twin.output.keys() == model.output.keys()
    assert twin.input["right"].shape == (None, 8, 8, 2)


def test_settings_reach_the_layers_that_have_them():
    twin = deconvolutionize(
        networks.sequential(),
        block_size=2,
        sampling_stride=1,
        num_iterations=3,
        epsilon=0.1,
        momentum=0.5,
        block_layout="contiguous",
    )
    conv, dense = (networks.layer_named(twin, n) for n in ("second", "head"))
    for layer in (conv, dense):
        assert layer.block_size == 2
        assert layer.num_iterations == 3
        assert layer.epsilon == 0.1
        assert layer.momentum == 0.5
    assert conv.sampling_stride == 1
    assert conv.block_layout == "contiguous"


def test_settings_pass_by_layers_that_lack_them():
    twin = deconvolutionize(
        networks.depthwise(), block_size=2, sampling_stride=2
    )
    depthwise = networks.layer_named(twin, "depthwise")
    assert depthwise.sampling_stride == 2
    assert not hasattr(depthwise, "block_size")
    assert networks.layer_named(twin, "up").block_size == 2


def test_flags_policies_and_names_are_kept():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3), name="images", dtype="float16"),
            layers.Conv2D(2, 3, dtype="mixed_bfloat16", name="frozen"),
            layers.Conv2D(2, 3, name="thawed"),
        ]
    )
    model.trainable = False
    model.layers[1].trainable = True
    twin = deconvolutionize(model)
    assert twin.inputs[0].name == "images"
    assert twin.inputs[0].dtype == "float16"
    assert not twin.trainable
    frozen, thawed = twin.layers
    assert not frozen.trainable
    assert frozen.dtype_policy.name == "mixed_bfloat16"
    assert thawed.trainable


def test_subclasses_and_wrapped_operations_are_copied_as_they_are():
    class Mine(layers.Conv2D):
        pass

    inputs = keras.Input((6, 6, 3))
    x = Mine(2, 3, name="mine")(inputs)
    x = layers.Lambda(lambda x, by: x * by, arguments={"by": 2.0})(x)
    x = layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0])(x)
    model = keras.Model(inputs, ops.mean(x, axis=(1, 2)))
    with pytest.warns(UserWarning, match=NOTHING):
        twin = deconvolutionize(model)
    assert type(twin.get_layer("mine")) is Mine
    batch = networks.inputs_of(model)
    np.testing.assert_array_equal(
        networks.flat(twin(batch)), networks.flat(model(batch))
    )


def test_adapted_normalization_keeps_its_statistics(rng):
    adapted = layers.Normalization()
    adapted.adapt(rng.normal(3, 2, size=(64, 4)).astype("float32"))
    model = keras.Sequential([keras.Input((4,)), adapted])
    batch = networks.inputs_of(model)
    with pytest.warns(UserWarning, match=NOTHING):
        twin = deconvolutionize(model)
    np.testing.assert_allclose(
        networks.flat(twin(batch)),
        networks.flat(model(batch)),
        rtol=1e-6,
    )


def test_model_of_normalization_alone_becomes_the_identity():
    inputs = keras.Input((4,))
    norm = layers.BatchNormalization()
    for model in (
        keras.Sequential([inputs, norm]),
        keras.Model(inputs, norm(inputs)),
    ):
        batch = np.arange(8, dtype="float32").reshape(2, 4)
        np.testing.assert_array_equal(
            networks.flat(deconvolutionize(model)(batch)), batch.ravel()
        )


def test_model_built_by_its_first_batch_takes_other_sizes():
    model = keras.Sequential([layers.Conv2D(2, 3), layers.ReLU()])
    model(np.ones((2, 6, 6, 3), "float32"))
    twin = deconvolutionize(model)
    assert twin(np.ones((5, 6, 6, 3), "float32")).shape == (5, 4, 4, 2)


def test_part_of_a_model_is_a_model():
    full = networks.pre_activation()
    part = keras.Model(full.input, full.get_layer("stem").output)
    twin = deconvolutionize(part)
    assert [type(layer).__name__ for layer in twin.layers] == [
        "InputLayer",
        "Rescaling",
        "DeconvConv2D",
    ]
    assert not twin.get_layer("stem").use_bias


def test_converting_twice_changes_nothing():
    once = deconvolutionize(networks.nested())
    networks.randomize(once)
    with pytest.warns(UserWarning, match="3 leave"):
        twice = deconvolutionize(once)
    batch = networks.inputs_of(once)
    np.testing.assert_array_equal(
        networks.flat(twice(batch)), networks.flat(once(batch))
    )


@pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="JAX compiles an initializer for each of a hundred shapes",
)
def test_keras_application():
    model = keras.applications.MobileNetV2(
        weights=None, input_shape=(32, 32, 3), alpha=0.35, classes=5
    )
    twin = deconvolutionize(model)
    names = [type(layer).__name__ for layer in twin.layers]
    assert names.count("DeconvConv2D") == 35
    assert names.count("DeconvDepthwiseConv2D") == 17
    assert "DepthwiseConv2D" not in names
    assert "BatchNormalization" not in names
    assert twin.output_shape == (None, 5)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="keras-cv imports TensorFlow on every backend",
)
def test_keras_cv_backbone():
    keras_cv = pytest.importorskip("keras_cv")
    backbone = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 16],
        stackwise_blocks=[2, 2],
        stackwise_strides=[1, 2],
        include_rescaling=True,
        block_type="basic_block",
        input_shape=(32, 32, 3),
    )
    twin = deconvolutionize(backbone)
    names = [type(layer).__name__ for layer in twin.layers]
    assert names.count("DeconvConv2D") == 10
    assert "BatchNormalization" not in names
    assert twin.output_shape == backbone.output_shape


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def unbuilt():
    return keras.Sequential([layers.Dense(2)], name="shapeless")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (unbuilt, "must be built.*'shapeless'"),
        (lambda: Subclassed(name="own"), "must be built.*'own'"),
        (lambda: layers.Dense(2, name="single"), "'single' of class 'Dense'"),
        (lambda: None, "None of class 'NoneType'"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_converted_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        deconvolutionize(make())


def test_unknown_setting_is_refused():
    with pytest.raises(TypeError, match=r"Settings must be.*\['blocksize'\]"):
        deconvolutionize(networks.sequential(), blocksize=3)


def test_bad_setting_is_refused_and_leaves_the_model_untouched():
    model = networks.sequential()
    config = model.get_config()
    with pytest.raises(ValueError, match="`epsilon` must be"):
        deconvolutionize(model, epsilon=0)
    assert model.get_config() == config


def test_twin_keeps_initializers_and_starts_a_new_bias_at_zero():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(
        3,
        3,
        use_bias=False,
        kernel_initializer="he_normal",
        bias_initializer="random_normal",
        name="conv",
    )(inputs)
    x = layers.BatchNormalization()(x)
    twin = deconvolutionize(keras.Model(inputs, x)).get_layer("conv")
    assert isinstance(twin.kernel_initializer, keras.initializers.HeNormal)
    assert isinstance(twin.bias_initializer, keras.initializers.RandomNormal)
    assert not np.any(ops.convert_to_numpy(twin.bias))


def test_layer_that_a_model_inside_has_too_is_named():
    shared = keras.layers.Dense(3, name="shared")
    inner_input = keras.Input((3,))
    inner = keras.Model(inner_input, shared(inner_input), name="inner")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(inner(inputs)))
    with pytest.raises(ValueError, match="shares with a model inside"):
        deconvolutionize(model)


def test_warnings_point_at_the_caller():
    model = keras.Sequential([keras.Input((3,)), keras.layers.ReLU()])
    with pytest.warns(UserWarning, match=NOTHING) as found:
        deconvolutionize(model)
    assert found[0].filename == __file__


def autoencoder():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(2, 3, strides=2, padding="same")(inputs)
    encoder = keras.Model(inputs, layers.Flatten()(x), name="encoder")
    code = keras.Input((32,))
    x = layers.Reshape((4, 4, 2))(code)
    x = layers.Conv2DTranspose(1, 3, strides=2, padding="same")(x)
    decoder = keras.Model(code, x, name="decoder")
    return keras.Model(inputs, decoder(encoder(inputs)))


def shared_activation():
    activation = layers.LeakyReLU(0.2)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(2, 3, activation=activation)(inputs)
    return keras.Model(inputs, layers.Conv2D(2, 3, activation=activation)(x))


@pytest.mark.parametrize("make", [autoencoder, shared_activation])
def test_layers_without_weights_may_be_shared(make, rng):
    model = make()
    twin = deconvolutionize(model, batch_norm="keep")
    images = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    # Mean and D are zero and the identity as yet.
    compare.assert_close(twin(images), model(images))
    compare.assert_close(keras_deconv.fold(twin)(images), model(images))

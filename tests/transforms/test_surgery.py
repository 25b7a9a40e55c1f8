"""Models that are more than a graph of Keras's own layers."""

import collections
import copy
import functools
import gc
import pickle

import keras
import numpy as np
import pytest
from keras import layers

import compare
import containers
import keras_deconv
import networks
from containers import Backbone
from containers import Classifier
from containers import images
from keras_deconv import deconvolutionize
from keras_deconv import fold
from keras_deconv import plan
from keras_deconv import restore

BATCH_NORM = layers.BatchNormalization
each_model = pytest.mark.parametrize(
    "make", containers.ALL.values(), ids=containers.ALL.keys()
)


def layers_of(model):
    return model._flatten_layers(include_self=False)


def count(model, cls):
    return sum(isinstance(layer, cls) for layer in layers_of(model))


@functools.cache
def trained(make):
    """A twin with statistics; made once, for tests that leave it alone."""
    twin = deconvolutionize(make(), momentum=0.5)
    for seed in range(3):
        twin(images(seed), training=True)
    return twin


@each_model
def test_every_layer_is_reached(make):
    model = make()
    twin = deconvolutionize(model)
    assert isinstance(twin, type(model))
    assert type(twin).__name__ == type(model).__name__
    assert count(twin, BATCH_NORM) == 0
    plain = count(model, layers.Conv2D | layers.Dense)
    assert count(twin, keras_deconv.layers.Whitening) == plain
    assert [la.name for la in layers_of(twin)] == [
        la.name for la in layers_of(model)
    ]
    paths = [weight.path for weight in twin.weights]
    assert len(set(paths)) == len(paths)


@each_model
def test_model_is_left_untouched(make):
    model = make()
    networks.randomize(model)
    before, weights = networks.flat(model(images())), model.get_weights()
    classes = [type(layer) for layer in layers_of(model)]
    twin = deconvolutionize(model)
    networks.randomize(twin, seed=1)
    assert [type(layer) for layer in layers_of(model)] == classes
    for now, then in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(networks.flat(model(images())), before)


@each_model
def test_no_replaced_layer_stays_alive(make):
    gc.collect()
    before = {id(layer) for layer in living_layers()}
    model = fold(deconvolutionize(make()))
    gc.collect()
    made = [layer for layer in living_layers() if id(layer) not in before]
    mine = {id(layer) for layer in model._flatten_layers()}
    assert mine
    assert [layer.name for layer in made if id(layer) not in mine] == []


def living_layers():
    """Returns all layers, but models: a Sequential has one that it hides."""
    return [each for each in gc.get_objects() if is_layer(type(each))]


def is_layer(kind):
    return issubclass(kind, layers.Layer) and not issubclass(kind, keras.Model)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's own files"
)
@pytest.mark.parametrize(
    "convert", [lambda twin: twin, fold], ids=["twin", "folded"]
)
@pytest.mark.parametrize(
    "make",
    [
        containers.backbone_in_functional,
        networks.every_class,
        networks.sequential,
    ],
)
def test_checkpoint_of_tensorflow(make, convert, tmp_path):
    """Of models without layers in lists or dicts, which Keras leaves out."""
    import tensorflow as tf

    model, other = (convert(deconvolutionize(make())) for _ in range(2))
    networks.randomize(model)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "weights"))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    for old, new in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(old.numpy(), new.numpy(), old.path)


@each_model
def test_file(make, tmp_path):
    """Loads in safe mode: no code, and no custom objects, from the file."""
    twin = trained(make)
    twin.save(tmp_path / "twin.keras")
    loaded = keras.models.load_model(tmp_path / "twin.keras")
    assert isinstance(loaded, type(make()))
    np.testing.assert_array_equal(
        networks.flat(loaded(images(9))), networks.flat(twin(images(9)))
    )
    assert count(loaded, BATCH_NORM) == 0
    twice = keras.models.load_model(_saved(loaded, tmp_path / "again.keras"))
    np.testing.assert_array_equal(
        networks.flat(twice(images(9))), networks.flat(twin(images(9)))
    )


def _saved(model, path):
    model.save(path)
    return path


@each_model
def test_training_step(make):
    twin = deconvolutionize(make())
    twin.compile(keras.optimizers.SGD(1e-3), "mse")
    target = np.zeros(twin(images()).shape, "float32")
    before = [np.array(weight) for weight in twin.get_weights()]
    loss = twin.fit(images(), target, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    moved = [
        np.abs(now - then).max() > 0
        for now, then in zip(twin.get_weights(), before, strict=True)
    ]
    kernels = ["kernel" in weight.path for weight in twin.weights]
    assert all(m for m, kernel in zip(moved, kernels, strict=True) if kernel)


@each_model
@pytest.mark.parametrize("undo", [fold, restore])
@pytest.mark.filterwarnings("ignore:`build.*was called on layer")
def test_undoing_keeps_predictions(make, undo, tmp_path):
    twin = trained(make)
    expected = networks.flat(twin(images(9)))
    plain = undo(twin)
    assert isinstance(plain, type(make()))
    compare.assert_close(networks.flat(plain(images(9))), expected)
    assert count(plain, keras_deconv.layers.Whitening) == 0
    plain.save(tmp_path / "plain.keras")
    loaded = keras.models.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(
        networks.flat(loaded(images(9))), networks.flat(plain(images(9)))
    )
    np.testing.assert_array_equal(networks.flat(twin(images(9))), expected)


def test_restored_model_has_its_structure_again():
    model = networks.sequential()
    networks.randomize(model)
    back = restore(deconvolutionize(model))
    assert [type(layer) for layer in back.layers] == [
        type(layer) for layer in model.layers
    ]
    assert [layer.get_config() for layer in back.layers] == [
        layer.get_config() for layer in model.layers
    ]
    assert [w.shape for w in back.weights] == [w.shape for w in model.weights]


def test_restored_container_forgets_the_conversion():
    """Its file then needs nothing of this package."""

    twin = deconvolutionize(containers.classifier())
    assert type(twin.backbone) is not Backbone
    back = restore(twin)
    assert type(back.backbone) is Backbone
    # Its convolution is called twice, and keeps the bias that folding made.
    assert type(back) is not Classifier


@pytest.mark.parametrize("copier", [copy.deepcopy, pickle.dumps])
def test_containers_are_copied_by_python(copier):
    twin = trained(containers.backbone)
    other = copier(twin)
    if copier is pickle.dumps:
        other = pickle.loads(other)
    np.testing.assert_array_equal(
        networks.flat(other(images())), networks.flat(twin(images()))
    )


def test_attributes_point_into_the_twin():
    twin = deconvolutionize(containers.backbone())
    assert twin.stem is twin.get_layer("stem")
    assert type(twin.stem) is keras_deconv.DeconvConv2D
    assert twin.levels == {"P1": "middle", "P2": "block"}
    feature = keras.Model(twin.input, twin.tensors["P1"])
    assert type(feature.get_layer("stem")) is keras_deconv.DeconvConv2D
    assert type(twin.get_layer("block").more[0]) is keras_deconv.DeconvConv2D


def test_clone_of_a_container_is_converted_too():
    twin = deconvolutionize(containers.backbone())
    other = type(twin).from_config(twin.get_config())
    assert count(other, BATCH_NORM) == 0
    assert isinstance(other, Backbone)


def test_failing_conversion_leaves_the_model_untouched(monkeypatch):
    model = containers.backbone()
    classes = [type(layer) for layer in layers_of(model)]

    def fail(*args, **kwargs):
        raise RuntimeError("half-way")

    monkeypatch.setattr(keras_deconv.DeconvDense, "build", fail)
    with pytest.raises(RuntimeError, match="half-way"):
        deconvolutionize(model)
    assert [type(layer) for layer in layers_of(model)] == classes
    assert not any("call" in vars(layer) for layer in layers_of(model))


def test_model_without_a_configuration_is_refused():
    class Own(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.conv = layer

        def call(self, inputs):
            return self.conv(inputs)

    model = Own(layers.Conv2D(2, 3))
    model(images())
    with pytest.raises(ValueError, match="must be rebuilt by"):
        deconvolutionize(model)


def test_call_with_several_arguments_is_refused():
    class Two(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.conv = layers.Conv2D(2, 3)

        def call(self, first, second):
            return self.conv(first + second)

    model = Two()
    model(images(), images())
    with pytest.raises(ValueError, match=r"takes \['first', 'second'\]"):
        plan(model)


def test_frozen_layers_and_policies_inside_containers():
    model = containers.backbone()
    model.get_layer("block").conv.trainable = False
    model.get_layer("stem").dtype_policy = "mixed_bfloat16"
    twin = deconvolutionize(model)
    assert not twin.get_layer("block").conv.trainable
    assert twin.get_layer("block").more[0].trainable
    assert twin.stem.dtype_policy.name == "mixed_bfloat16"


def test_operation_with_the_name_of_a_layer():
    """`x + 3` is an operation `Add`; the model has a layer `Add` as well."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(inputs) + 3.0
    model = keras.Model(inputs, layers.Add()([x, layers.Conv2D(4, 1)(x)]))
    twin = deconvolutionize(model)
    compare.assert_close(
        networks.flat(restore(twin)(images(0))), networks.flat(twin(images(0)))
    )


@containers.register
class Gate(layers.Layer):
    """Its `from_config` changes the configuration that it is given."""

    def __init__(self, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(3, 1, activation=activation)

    def call(self, inputs):
        return inputs * self.conv(inputs)

    def get_config(self):
        activation = keras.saving.serialize_keras_object(self.conv.activation)
        return {**super().get_config(), "activation": {"is": activation}}

    @classmethod
    def from_config(cls, config):
        if isinstance(config["activation"], dict):
            config["activation"] = keras.activations.get(
                config["activation"]["is"]
            )
        return cls(**config)


def test_configuration_is_used_more_than_once(tmp_path):
    inputs = keras.Input((8, 8, 3))
    twin = deconvolutionize(keras.Model(inputs, Gate()(inputs)))
    for name in ("once.keras", "twice.keras"):
        twin.save(tmp_path / name)
        twin = keras.models.load_model(tmp_path / name)
    assert count(restore(twin), keras_deconv.layers.Whitening) == 0
    assert count(twin, keras_deconv.DeconvConv2D) == 1


@containers.register
class Careless(Gate):
    """Its configuration does not make it: an argument is unknown."""

    def get_config(self):
        return {**super().get_config(), "width": 3}


@containers.register
class Careful(keras.Model):
    """Its constructor makes the careless layer, so it can be copied."""

    def __init__(self, **kwargs):
        inputs = keras.Input((8, 8, 3))
        super().__init__(inputs, Careless()(inputs), **kwargs)

    def get_config(self):
        return {"name": self.name}


def test_inner_layer_without_a_configuration_is_restored():
    twin = deconvolutionize(Careful())
    restored = restore(twin)
    assert type(restored) is Careful
    assert type(restored.layers[1]) is Careless
    compare.assert_close(
        networks.flat(restored(images(0))), networks.flat(twin(images(0)))
    )


def scaled(factor):
    def activation(x):
        return containers.ops.silu(x) * factor

    return activation


def kept(count):
    def first(x):
        return x[..., :count]

    return first


def test_functions_of_one_name_are_told_apart():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation=scaled(0.5), name="a")(inputs)
    x = layers.Conv2D(4, 3, activation=scaled(2.0), name="b")(x)
    x = layers.Lambda(kept(3), name="c")(x)
    model = keras.Model(inputs, layers.Lambda(kept(2), name="d")(x))
    twin = deconvolutionize(model)
    assert twin.output_shape == (None, 4, 4, 2)
    for name in "ab":
        function = model.get_layer(name).activation
        assert twin.get_layer(name).activation is function
        assert function.__name__ == "activation"
    folded = fold(twin)
    compare.assert_close(folded(images(0)), twin(images(0)))


def test_anonymous_activation_keeps_what_it_refers_to():
    inputs = keras.Input((8, 8, 3))
    function = lambda x: containers.ops.silu(x)  # noqa: E731
    model = keras.Model(
        inputs, layers.Conv2D(4, 3, activation=function)(inputs)
    )
    twin = deconvolutionize(model)
    assert twin.layers[1].activation is function


def test_functions_of_one_name_inside_a_converted_container():
    inputs = keras.Input((8, 8, 3))
    x = Activated(scaled(0.5))(inputs)
    model = keras.Model(inputs, Activated(scaled(2.0))(x))
    twin = deconvolutionize(model)
    for each in (twin, fold(twin)):
        for layer, other in zip(each.layers[1:], model.layers[1:], strict=True):
            assert layer.conv.activation is other.conv.activation


@containers.register
class Activated(layers.Layer):
    """A convolution with a function that it is given."""

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(3, 3, activation=activation)

    def call(self, inputs):
        return self.conv(inputs)

    def get_config(self):
        activation = keras.activations.serialize(self.conv.activation)
        return {**super().get_config(), "activation": activation}

    @classmethod
    def from_config(cls, config):
        activation = keras.activations.deserialize(config.pop("activation"))
        return cls(activation, **config)


def relu(x):
    """Not that of Keras."""
    return containers.ops.minimum(containers.ops.relu(x), 0.5)


def test_function_with_a_name_of_keras():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3, activation=relu)(inputs))
    twin = deconvolutionize(model, calibration_data=[images(0)])
    assert twin.layers[1].activation is relu
    compare.assert_close(twin(images(1)), model(images(1)), 1e-4)


@containers.register
class Chain(layers.Layer):
    """Applies functions, and knows a class that it does not use."""

    def __init__(self, functions, **kwargs):
        super().__init__(**kwargs)
        self.functions = list(functions)
        self.other = type("Activated", (layers.Layer,), {})

    def call(self, inputs):
        for function in self.functions:
            inputs = function(inputs)
        return inputs

    def get_config(self):
        functions = map(keras.saving.serialize_keras_object, self.functions)
        return {**super().get_config(), "functions": list(functions)}

    @classmethod
    def from_config(cls, config):
        functions = config.pop("functions")
        return cls(
            map(keras.saving.deserialize_keras_object, functions), **config
        )


def test_functions_in_lists_and_classes_in_attributes():
    inputs = keras.Input((8, 8, 3))
    x = Activated(scaled(0.5))(inputs)
    outputs = Chain([scaled(2.0), scaled(3.0)])(x)
    model = keras.Model(inputs, outputs)
    twin = deconvolutionize(model, calibration_data=[images(0)])
    assert twin.layers[2].functions == model.layers[2].functions
    compare.assert_close(twin(images(1)), model(images(1)), 1e-4)


@pytest.mark.parametrize("undo", [fold, restore])
def test_anonymous_function_inside_a_converted_container(undo):
    inputs = keras.Input((8, 8, 3))
    function = lambda x: containers.ops.silu(x)  # noqa: E731
    x = Activated(function)(inputs)
    model = keras.Model(inputs, Activated(function)(x))
    twin = deconvolutionize(model)
    twin(images(0), training=True)
    undone = undo(twin)
    assert undone.layers[1].conv.activation is function
    assert undone.layers[2].conv.activation is function
    assert function.__name__ == "<lambda>"
    compare.assert_close(undone(images(1)), twin(images(1)))


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Has no configuration."""

    def __call__(self, step):
        return 0.1


def test_what_a_model_was_compiled_with_is_left_alone():
    inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3)])
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, inner(inputs))
    for each in (inner, model):
        each.compile(keras.optimizers.SGD(Schedule()), "mse")
    twin = deconvolutionize(model)
    assert [model.compiled, inner.compiled] == [True, True]
    assert [twin.compiled, twin.layers[1].compiled] == [False, False]


Pair = collections.namedtuple("Pair", "conv norm")


@containers.register
class InNamedTuple(keras.Model):
    """Holds its layers in a named tuple."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pair = Pair(layers.Conv2D(4, 3), BATCH_NORM())

    def call(self, inputs, training=None):
        return self.pair.norm(self.pair.conv(inputs), training=training)


def test_layers_in_a_named_tuple():
    model = InNamedTuple()
    model(images(0))
    twin = deconvolutionize(model)
    assert isinstance(twin.pair.conv, keras_deconv.DeconvConv2D)
    twin(images(0), training=True)
    compare.assert_close(fold(twin)(images(1)), twin(images(1)))


@containers.register
class Wrong(layers.Layer):
    """Forgets its factor in its configuration."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return self.factor * inputs

    def get_config(self):
        return super().get_config()


def test_a_copy_that_is_wrong_is_noticed():
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Conv2D(2, 3)(Wrong(3.0)(inputs))
    model = keras.Model(inputs, outputs)
    with pytest.warns(UserWarning, match="do not predict the same"):
        deconvolutionize(model, calibration_data=[images(0)])


def test_classes_of_one_name_are_refused():
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for module in ("one", "other"):
        body = {"__module__": module, "call": lambda self, x: x}
        cls = type("Mine", (layers.Layer,), body)
        x = cls()(x)
    model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
    with pytest.raises(ValueError, match=r"'Mine': one\.Mine and other\.Mine"):
        deconvolutionize(model)


def test_anonymous_function_keeps_what_it_refers_to():
    factor = np.float32(2.0)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3)(inputs)
    function = lambda x: containers.ops.silu(x) * factor  # noqa: E731
    model = keras.Model(inputs, layers.Lambda(function, name="any")(x))
    twin = deconvolutionize(model)
    assert model.get_layer("any").function is function
    assert twin.get_layer("any").function is function
    assert np.isfinite(networks.flat(twin(images(0)))).all()


@containers.register
class OddNames(keras.Model):
    """Names attributes as Keras and TensorFlow name some of theirs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._self_attention = layers.Conv2D(4, 3)
        self._layers_down = [BATCH_NORM(), layers.Conv2D(2, 3)]
        self._nodes_up = {"a": layers.Conv2D(2, 1)}
        self._operations_more = layers.Dense(2)

    def call(self, inputs, training=None):
        x = self._self_attention(inputs)
        for each in self._layers_down:
            x = each(x)
        return self._operations_more(self._nodes_up["a"](x))


def test_attributes_named_as_those_of_keras():
    model = OddNames()
    model(images(0))
    twin = deconvolutionize(model)
    kinds = (twin._self_attention, *twin._layers_down, twin._operations_more)
    plain = (layers.Conv2D, BATCH_NORM, layers.Dense)
    assert not [each for each in kinds if type(each) in plain]
    twin(images(0), training=True)
    for undo in (fold, restore):
        compare.assert_close(undo(twin)(images(1)), twin(images(1)))


@containers.register
class Upwards(layers.Layer):
    """Holds a transposed convolution, which folds to two layers, alone."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2DTranspose(2, 3)

    def call(self, inputs):
        return self.conv(inputs)


@pytest.mark.parametrize("undo", [fold, restore])
def test_what_was_undone_is_converted_again(undo, tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, Upwards()(inputs))
    twin = deconvolutionize(undo(deconvolutionize(model)))
    twin(images(0), training=True)
    twin.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (loaded, fold(twin)):
        compare.assert_close(each(images(1)), twin(images(1)))


@pytest.mark.parametrize("undo", [None, fold])
def test_container_that_is_frozen_after_its_conversion(undo, tmp_path):
    twin = deconvolutionize(Backbone())
    if undo is not None:
        twin = undo(twin)
    twin.trainable = False
    twin.name = "frozen"
    twin.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.name, loaded.trainable) == ("frozen", False)
    assert not loaded.trainable_weights


def test_layer_that_hands_its_inputs_on():
    inputs = keras.Input((8, 8, 3))
    pair = [layers.Conv2D(2, 3, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, layers.Identity()(pair))
    twin = deconvolutionize(model)
    twin(images(0), training=True)
    restored = restore(twin)
    for found, expected in zip(
        restored(images(1)), twin(images(1)), strict=True
    ):
        compare.assert_close(found, expected)


@containers.register
class Several(keras.Model):
    """Puts out a map, a number, and nothing."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(2, 3)
        self.norm = BATCH_NORM()

    def call(self, inputs, training=None):
        x = self.norm(self.conv(inputs), training=training)
        mean = containers.ops.mean(x)
        return {"map": x, "mean": mean, "other": None}


def test_outputs_that_are_numbers_or_none():
    model = Several()
    model(images(0))
    twin = deconvolutionize(model, calibration_data=[images(0)])
    compare.assert_close(twin(images(1))["map"], model(images(1))["map"], 1e-4)
    restored = restore(twin)
    for key in ("map", "mean"):
        compare.assert_close(restored(images(1))[key], twin(images(1))[key])


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="others have no strings"
)
def test_outputs_that_are_strings():
    inputs = keras.Input((8, 8, 3))
    x = BATCH_NORM()(layers.Conv2D(2, 3)(inputs))
    numbers = layers.GlobalAveragePooling2D()(x)
    picks = containers.ops.argmax(numbers, axis=-1)
    names = layers.StringLookup(vocabulary=["a", "b"], invert=True)(picks)
    model = keras.Model(inputs, [numbers, names])
    twin = deconvolutionize(model, calibration_data=[images(0)])
    found, expected = twin(images(1)), model(images(1))
    compare.assert_close(found[0], expected[0], 1e-4)
    assert found[1].numpy().tolist() == expected[1].numpy().tolist()

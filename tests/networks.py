"""Small networks of every shape that the transforms enter."""

import keras
import numpy as np
from keras import layers
from keras import ops


def sequential():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3, padding="same", use_bias=False, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Conv2D(5, 3, strides=2, name="second"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(3, name="head"),
        ],
        name="sequential_net",
    )


def several_inputs_and_outputs():
    left = keras.Input((8, 8, 3), name="left")
    right = keras.Input((8, 8, 2), name="right")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="on_left")
    y = layers.Conv2D(4, 3, padding="same", name="on_right")
    x, y = x(left), layers.BatchNormalization()(y(right))
    both = layers.Add()([layers.BatchNormalization()(x), y])
    last = layers.Conv2D(2, 1, use_bias=False, name="last")(both)
    return keras.Model(
        {"left": left, "right": right},
        {
            "pooled": layers.GlobalAveragePooling2D()(both),
            "map": layers.BatchNormalization()(last),
        },
        name="several",
    )


def shared_layers():
    first, second = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3, name="shared")
    norm = layers.BatchNormalization()
    difference = ops.abs(norm(conv(first)) - norm(conv(second)) + 0.5)
    pooled = layers.GlobalAveragePooling2D()(difference)
    return keras.Model([first, second], layers.Dense(2)(pooled))


def nested():
    """A Sequential and, called twice, a Functional inside a Functional.

    The convolution that the outer normalization belongs to is the last
    layer of the inner model.
    """
    stem = keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            layers.Conv2D(4, 3, use_bias=False, name="in_stem"),
        ],
        name="stem",
    )
    inner = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", name="in_block")(inner)
    x = layers.Add()([inner, layers.BatchNormalization()(x)])
    block = keras.Model(inner, x, name="block")
    inputs = keras.Input((10, 10, 3))
    x = layers.BatchNormalization()(stem(inputs))
    x = layers.GlobalAveragePooling2D()(block(block(x)))
    return keras.Model(inputs, layers.Dense(2)(x), name="nested")


def functional_in_sequential():
    inner = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inner))
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.Model(inner, x, name="inner"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def pre_activation():
    """Normalization before the convolution, as in ResNetV2."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(x)
    y = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(4, 3, padding="same", use_bias=False, name="branch")(y)
    x = layers.Add()([x, y])
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def depthwise():
    """A depthwise and a transposed convolution, either side of a norm."""
    inputs = keras.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2DTranspose(4, 3, use_bias=False, name="up")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def every_class():
    """Every layer that has a twin, in one, two and three dimensions."""
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", name="conv2d")(inputs)
    x = layers.SeparableConv2D(4, 3, name="separable2d")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise2d")(x)
    x = layers.Conv2DTranspose(3, 2, name="transpose2d")(x)
    y = layers.Reshape((49, 3))(x)
    y = layers.Conv1D(4, 3, padding="causal", use_bias=False, name="conv1d")(y)
    y = layers.BatchNormalization()(y)
    y = layers.SeparableConv1D(4, 3, strides=2, name="separable1d")(y)
    y = layers.DepthwiseConv1D(3, name="depthwise1d")(y)
    y = layers.Conv1DTranspose(3, 2, strides=2, name="transpose1d")(y)
    z = layers.Reshape((7, 7, 3, 1))(x)
    z = layers.Conv3D(2, (3, 3, 2), name="conv3d")(z)
    z = layers.Conv3DTranspose(2, 2, name="transpose3d")(z)
    pooled = [
        layers.GlobalAveragePooling1D()(y),
        layers.GlobalAveragePooling3D()(z),
    ]
    outputs = layers.Dense(3, name="dense")(layers.Concatenate()(pooled))
    return keras.Model(inputs, outputs, name="every_class")


ALL = {
    make.__name__: make
    for make in (
        sequential,
        several_inputs_and_outputs,
        shared_layers,
        nested,
        functional_in_sequential,
        pre_activation,
        depthwise,
    )
}


def inputs_of(model, seed=0):
    """Returns random inputs, 6 samples, in the structure the model takes."""
    rng = np.random.default_rng(seed)

    def make(tensor):
        return rng.normal(size=(6, *tensor.shape[1:])).astype("float32") + 0.5

    if isinstance(model, keras.Sequential):
        return make(model.inputs[0])
    return keras.tree.map_structure(make, model.input)


def randomize(model, seed=0):
    """Gives every weight a random value: biases and statistics too."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 0.6, size=weight.shape))


def flat(outputs):
    """Returns a model's outputs, in any structure, as one vector."""
    return np.concatenate(
        [
            ops.convert_to_numpy(output).ravel()
            for output in keras.tree.flatten(outputs)
        ]
    )


def all_layers(model):
    """Returns every layer that is not a model, at any depth, once."""
    found = {}

    def collect(layer):
        if isinstance(layer, keras.Model):
            for child in layer.layers:
                collect(child)
        else:
            found[id(layer)] = layer

    collect(model)
    return list(found.values())


def layer_named(model, name):
    (layer,) = [each for each in all_layers(model) if each.name == name]
    return layer

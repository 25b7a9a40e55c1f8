"""Models that are more than a graph of Keras's own layers."""

import keras
import numpy as np
from keras import layers
from keras import ops

register = keras.saving.register_keras_serializable(package="surgery")
BATCH_NORM = layers.BatchNormalization


@register
class Block(layers.Layer):
    """Holds its layers in an attribute, a list and a dict; has no `build`."""

    def __init__(self, filters=4, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.conv = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.norm = BATCH_NORM()
        self.more = [layers.Conv2D(filters, 1), BATCH_NORM()]
        self.named = {"gate": layers.Dense(filters, activation="sigmoid")}

    def call(self, inputs, training=None):
        x = self.norm(self.conv(inputs), training=training)
        y = self.more[1](self.more[0](ops.relu(x)), training=training)
        return (x + y) * self.named["gate"](x)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@register
class Backbone(keras.Model):
    """A Functional model with a constructor and attributes of its own."""

    def __init__(self, width=4, **kwargs):
        inputs = keras.Input((8, 8, 3), name="images")
        x = layers.Rescaling(1 / 255.0, name="scale")(inputs)
        x = layers.Conv2D(width, 3, use_bias=False, name="stem")(x)
        x = BATCH_NORM(name="stem_norm")(x)
        middle = layers.ReLU(name="middle")(x)
        x = Block(width, name="block")(middle)
        super().__init__(inputs, x, **kwargs)
        self.width = width
        self.levels = {"P1": "middle", "P2": "block"}
        self.tensors = {"P1": middle, "P2": x}
        self.stem = self.get_layer("stem")

    def get_config(self):
        return {"width": self.width, "name": self.name}


@register
class Classifier(keras.Model):
    """Subclassed, with a backbone, and a convolution that is called twice."""

    def __init__(self, width=4, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.backbone = Backbone(width, name="backbone")
        self.mix = layers.Conv2D(width, 3, padding="same", use_bias=False)
        self.norm = BATCH_NORM()
        self.head = layers.Dense(3, name="head")

    def call(self, inputs, training=None):
        x = self.backbone(inputs, training=training)
        x = self.norm(self.mix(self.mix(x)), training=training)
        return self.head(ops.mean(x, axis=(1, 2)))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def block_in_sequential():
    return keras.Sequential([keras.Input((8, 8, 3)), Block(name="block")])


def backbone():
    return Backbone(name="backbone")


def backbone_in_functional():
    part = Backbone(name="backbone")
    pooled = layers.GlobalAveragePooling2D()(part.tensors["P1"])
    return keras.Model(part.input, layers.Dense(2)(pooled))


def backbone_as_layer():
    inputs = keras.Input((8, 8, 3))
    x = Backbone(name="backbone")(inputs)
    return keras.Model(inputs, layers.Conv2D(2, 1)(x), name="outer")


def classifier():
    model = Classifier(name="classifier")
    model(np.zeros((1, 8, 8, 3), "float32"))
    return model


ALL = {
    make.__name__: make
    for make in (
        block_in_sequential,
        backbone,
        backbone_in_functional,
        backbone_as_layer,
        classifier,
    )
}


def images(seed=0, n=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 8, 8, 3)).astype("float32") + 0.5

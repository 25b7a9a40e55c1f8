"""A small trained model, and the script that saves it for each backend.

To renew the files in data/models, with the oldest Keras that is supported, so
that every newer one has to read them (`make test-torch KERAS=oldest` sets it
up):

    for backend in tensorflow torch jax; do
        KERAS_BACKEND=$backend python tests/saved_model.py
    done
"""

import pathlib

import keras
import numpy as np

from keras_deconv import DeconvConv2D
from keras_deconv import DeconvDense


def images():
    return np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")


def first_layer():
    return DeconvConv2D(4, 3, activation="relu", name="conv")


def make():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            first_layer(),
            DeconvConv2D(4, 3, groups=2, use_bias=False, name="grouped"),
            keras.layers.GlobalAveragePooling2D(),
            DeconvDense(2, name="dense"),
        ],
        name="small",
    )
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    return model


def train(model):
    targets = np.random.default_rng(1).normal(size=(16, 2))
    model.fit(images(), targets, batch_size=8, shuffle=False, verbose=0)


def main():
    folder = pathlib.Path(__file__).parent / "data" / "models"
    backend = keras.backend.backend()
    keras.utils.set_random_seed(0)
    model = make()
    train(model)
    model.save(folder / f"{backend}.keras")
    np.savez(
        folder / f"{backend}.npz",
        predictions=model.predict(images(), verbose=0),
        moving_deconv=keras.ops.convert_to_numpy(
            model.get_layer("conv").moving_deconv
        ),
    )


if __name__ == "__main__":
    main()

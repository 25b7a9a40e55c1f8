"""Small trained models, and the script that saves them for each backend.

To renew files in data/models, with the oldest Keras that is supported, so
that every newer one has to read them (`make test-torch KERAS=oldest` sets it
up):

    for backend in tensorflow torch jax; do
        KERAS_BACKEND=$backend python tests/saved_model.py small family
    done

`small` writes `{backend}.keras`, a Sequential that has been trained for two
steps; `family` writes `family_{backend}.keras`, in which every layer of the
package is a branch. The arrays beside them hold what is to be predicted.
"""

import argparse
import pathlib

import keras
import numpy as np

import family
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


def save_small(folder, backend):
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


def save_family(folder, backend):
    """Saves inputs as well: the table of layers may change later."""
    model = family.make_model()
    inputs = {
        name: family.make_inputs(member.shape)
        for name, member in family.MEMBERS.items()
    }
    rng = np.random.default_rng(1)
    targets = {
        name: rng.normal(size=output.shape)
        for name, output in model(inputs).items()
    }
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(inputs, targets, batch_size=4, epochs=2, verbose=0)
    model.save(folder / f"family_{backend}.keras")
    outputs = model.predict(inputs, verbose=0)
    np.savez(
        folder / f"family_{backend}.npz",
        **{f"input/{name}": array for name, array in inputs.items()},
        **{f"output/{name}": array for name, array in outputs.items()},
    )


SAVERS = {"small": save_small, "family": save_family}


def main():
    parser = argparse.ArgumentParser(
        description="Save models for the backend that Keras runs on."
    )
    parser.add_argument("models", nargs="+", choices=SAVERS)
    folder = pathlib.Path(__file__).parent / "data" / "models"
    for name in parser.parse_args().models:
        keras.utils.set_random_seed(0)
        SAVERS[name](folder, keras.backend.backend())


if __name__ == "__main__":
    main()

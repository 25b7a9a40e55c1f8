"""A trained network with batch normalization, deconvolved with its data."""

from typing import Any

import keras
import numpy as np

import keras_deconv

CALIBRATION_BATCHES = 20


def convert(
    network: keras.Model,
    images: np.ndarray,
    batch_size: int,
    seed: int,
    **settings: Any,
) -> keras.Model:
    """Returns a deconvolved twin that predicts what a network predicts.

    Args:
        network: A trained network; it is left as it is.
        images: (N, H, W, C), out of which the statistics are estimated: from
            `CALIBRATION_BATCHES` batches, or as many as there are.
        batch_size: Images in a batch.
        seed: Says which images these are.
        **settings: More arguments of `keras_deconv.deconvolutionize`.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    batches = [
        images[order[start : start + batch_size]]
        for start in range(
            0,
            min(len(images), CALIBRATION_BATCHES * batch_size),
            batch_size,
        )
    ]
    return keras_deconv.deconvolutionize(
        network, calibration_data=batches, **settings
    )

"""Deconvolved models back to plain ones, for deployment."""

from typing import Any

from keras_deconv.layers import ChannelAffine
from keras_deconv.layers import RemovedNormalization
from keras_deconv.layers import Whitening
from keras_deconv.transforms._converted import take_steps
from keras_deconv.transforms._copy import copy_model
from keras_deconv.transforms._structure import check_model
from keras_deconv.transforms._structure import places


def fold(model: Any) -> Any:
    """Returns the plain model that predicts what a deconvolved one does.

    Every deconvolution layer becomes the Keras layer that it is a twin of,
    with the moving mean and D in its kernel and bias (implicit
    deconvolution: network deconvolution, section 4.3). The result costs
    what plain convolutions cost, and always has biases. `model` is left as
    it is; the result shares no weights with it and is not compiled.

    A Sequential or Functional model needs only Keras from then on. A
    container that remembers its conversion (a backbone, say) still needs
    `import keras_deconv` to be loaded from a file.

    Args:
        model: A built `keras.Model`.

    Raises:
        ValueError: If `model` is not built, or cannot be rebuilt from its
            configuration.
    """
    check_model(model)
    copy = copy_model(model)
    take_steps(
        copy,
        [
            (place.address, "fold", {})
            for place in places(copy)
            if _folds(place.layer)
        ],
    )
    return copy


def _folds(layer: Any) -> bool:
    if isinstance(layer, RemovedNormalization):
        # Code may call it with arguments that the identity does not take.
        return bool(layer._inbound_nodes)
    return isinstance(layer, Whitening | ChannelAffine) and layer.built

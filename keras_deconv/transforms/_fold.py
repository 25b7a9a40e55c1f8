"""Deconvolved models back to plain ones, for deployment."""

from typing import Any

from keras_deconv.layers import Whitening
from keras_deconv.transforms._rewrite import rewrite


def fold(model: Any) -> Any:
    """Returns the plain model that predicts what a deconvolved one does.

    Every deconvolution layer becomes the Keras layer that it is a twin of,
    with the moving mean and D in its kernel and bias (implicit
    deconvolution: network deconvolution, section 4.3). The result needs
    only Keras, costs what plain convolutions cost, and always has biases.
    `model` is left as it is; the result shares no weights with it and is
    not compiled.

    Args:
        model: A built Sequential or Functional model, nested at will.

    Raises:
        ValueError: If `model` is not built, is neither Sequential nor
            Functional, or holds a deconvolution layer inside a layer that
            cannot be entered.
    """

    def replace(layer: Any) -> Any:
        return layer.fold() if isinstance(layer, Whitening) else layer

    return rewrite(model, replace, (Whitening,))

"""Deconvolved models back to plain ones, for deployment."""

from typing import Any

from keras_deconv._warnings import warn
from keras_deconv.layers import ChannelAffine
from keras_deconv.layers import RemovedNormalization
from keras_deconv.layers import Whitening
from keras_deconv.transforms._converted import take_steps
from keras_deconv.transforms._copy import copy_model
from keras_deconv.transforms._steps import can_fold
from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import check_model
from keras_deconv.transforms._structure import is_tied
from keras_deconv.transforms._structure import places
from keras_deconv.transforms._structure import tied_weights


def fold(model: Any) -> Any:
    """Returns the plain model that predicts what a deconvolved one does.

    Every deconvolution layer becomes plain: the Keras layer that it is a twin
    of, with a bias, and the moving mean and D in kernel and bias (implicit
    deconvolution: network deconvolution, section 4.3); a pointwise layer for
    `ChannelDeconv`; a `Sequential` that subtracts the mean and then convolves
    for a transposed convolution. The result costs what plain convolutions
    cost. `model` is left as it is; the result shares no weights with it and
    is not compiled.

    A Sequential or Functional model needs only Keras from then on. A
    container that remembers its conversion (a backbone, say) still needs
    `import keras_deconv` to be loaded from a file, and keeps the identities
    in the place of batch normalization that its code calls. A subclass of a
    deconvolution layer that has a `call` of its own, but no `fold`, is left as
    it is, as is a layer whose weights another one has too.

    Args:
        model: A built `keras.Model`.

    Warns:
        UserWarning: If a layer is left as it is.

    Raises:
        ValueError: If `model` is not built, or cannot be rebuilt from its
            configuration.
    """
    check_model(model)
    copy = copy_model(model)
    found = foldable_places(copy)
    for place in places(copy):
        layer = place.layer
        if isinstance(layer, RemovedNormalization):
            # Code may call it with arguments that the identity does not take.
            can_go = bool(layer._inbound_nodes)
        else:
            can_go = isinstance(layer, ChannelAffine) and layer.built
        if can_go:
            found.append(place)
    take_steps(copy, [(place.address, "fold", {}) for place in found])
    return copy


def foldable_places(model: Any) -> list[Place]:
    """Returns the deconvolution layers of a model that can be folded.

    Warns of those that compute something of their own.
    """
    found = [
        place
        for place in places(model)
        if isinstance(place.layer, Whitening) and place.layer.built
    ]
    if left := [each.path for each in found if not can_fold(each.layer)]:
        warn(
            "A subclass of a deconvolution layer with a `call` of its own "
            "must have a `fold` too, to be folded. Left as they are: "
            f"{', '.join(left)}"
        )
    found = [place for place in found if can_fold(place.layer)]
    tied = tied_weights(model)
    if left := [each.path for each in found if is_tied(each.layer, tied)]:
        warn(
            "A layer whose weights another one has too, as in "
            "`SpectralNormalization`, cannot be folded. Left as they are: "
            f"{', '.join(left)}"
        )
    return [place for place in found if not is_tied(place.layer, tied)]

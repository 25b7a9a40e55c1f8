"""Reports how white the inputs of deconvolution layers are."""

import itertools
from typing import Any

import keras

from keras_deconv._checks import check_count
from keras_deconv.layers import deconv_layers
from keras_deconv.layers import measure_whiteness


class WhitenessMonitor(keras.callbacks.Callback):
    """Measures, in training, what deconvolution layers see and what they do.

    At the end of an epoch it runs the model on one batch, in inference mode,
    and adds to `logs`, for each of the layers,

    * `LAYER/condition`: the condition number of `Cov + epsilon I`, the
      covariance of what the layer whitens: the largest eigenvalue over the
      smallest. If the layer has several D, the largest of theirs;
    * `LAYER/distance`: how far `W = D (Cov + epsilon I) D` is from the
      identity, with the moving D, which inference uses:
      `|W - I|_F / |I|_F`. That is the root mean square of what the
      eigenvalues differ from 1: 0 is perfectly white.

    LAYER is the layer's path, such as `backbone/conv`. A layer that whitens
    twice has two of each: `LAYER/pointwise_condition`, ... Of layers with one
    path, later ones have a number: `LAYER_2/condition`.

    Few Newton-Schulz steps leave directions of little variance as they are,
    on purpose, so the distance does not go to 0: watch whether it grows. A
    D that is stale (`update_every`, `freeze_after`, a `momentum` near 1)
    shows here first.

    Callbacks see `logs` in their order: give this one before
    `keras.callbacks.CSVLogger`, and before `keras.callbacks.TensorBoard`,
    which writes `epoch_LAYER/condition`. The history that `fit` returns and
    the progress bar come last anyway.

    No variable of the model changes. The batch costs about as much as one
    step of `evaluate`, run eagerly.

    Args:
        data: One batch of inputs, as the model takes them: an array, or a
            list or dict of arrays. It should have several times as many
            samples as a block has features.
        every: Measure in the first epoch of a `fit`, and in every so many-th
            from there. In other epochs `logs` is left alone.

    Raises:
        ValueError: If an argument breaks its rule; when training begins, if
            the model has no deconvolution layer.

    Example:
        >>> monitor = WhitenessMonitor(x_train[:256])
        >>> logger = keras.callbacks.CSVLogger("log.csv")
        >>> model.fit(x_train, y_train, callbacks=[monitor, logger])
    """

    def __init__(self, data: Any, *, every: int = 1) -> None:
        super().__init__()
        _check_batch(data)
        self.data: Any = data
        self.every: int = check_count("every", every)
        self._first: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        # One that is not built yet is built by the first step.
        if next(deconv_layers(self.model, built=False), None) is None:
            raise ValueError(
                "The model must have a deconvolution layer. "
                f"Received: model '{self.model.name}'"
            )
        self._first = None

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self._first is None:
            self._first = epoch

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if logs is None or (epoch - (self._first or 0)) % self.every:
            return
        # On JAX, `fit` keeps the state of the model to itself.
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        measured = measure_whiteness(self.model, self.data)
        paths = {found.name for found in measured}
        used: set[str] = set()
        for found in measured:
            name = _unused(found.name, found.prefix, used, paths)
            used.add(f"{name}/{found.prefix}")
            logs[f"{name}/{found.prefix}condition"] = found.condition
            logs[f"{name}/{found.prefix}distance"] = found.distance


def _unused(name: str, prefix: str, used: set[str], paths: set[str]) -> str:
    """Returns a name, with a number if there is one of that name already."""
    if f"{name}/{prefix}" not in used:
        return name
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(
        each
        for each in numbered
        if f"{each}/{prefix}" not in used and each not in paths
    )


def _check_batch(data: Any) -> None:
    leaves = keras.tree.flatten(data)
    if not leaves or not all(hasattr(leaf, "shape") for leaf in leaves):
        raise ValueError(
            "`data` must be one batch of inputs, as arrays. "
            f"Received: data of type '{type(data).__name__}'"
        )

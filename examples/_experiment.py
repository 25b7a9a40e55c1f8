"""What tells a training run from all others."""

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from typing import Any

import keras

import keras_deconv

BATCH = "batch"
DECONV = "deconv"
NORMS = (BATCH, DECONV)
FLOAT32 = "float32"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Settings of a run.

    Attributes:
        experiment: Where in the paper it stands.
        network: Name of the network.
        dataset: Name of the data set.
        norm: `"batch"` or `"deconv"`.
        preset: Settings of deconvolution by name; None for `"batch"`.
        epochs: Epochs of training.
        batch_size: Images in a step.
        learning_rate: Where the schedule starts.
        weight_decay: Coupled L2 of all trainable weights.
        seed: Of kernels, order and augmentation.
        num_iterations: Newton-Schulz steps, in place of the preset's.
        epsilon: Ridge, in place of the preset's.
        precision: Of activations: `"float32"`, `"float16"`, `"bfloat16"`.
        steps_per_epoch: The most steps of an epoch; None for all.
        image_size: Side of the images, where that is a choice.
        network_arguments: More arguments of the network, as JSON.
        distributed: Whether a batch is spread over all devices.
    """

    experiment: str
    network: str
    dataset: str
    norm: str
    preset: str | None
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    num_iterations: int | None = None
    epsilon: float | None = None
    precision: str = FLOAT32
    steps_per_epoch: int | None = None
    image_size: int | None = None
    network_arguments: str | None = None
    distributed: bool = False

    def columns(self) -> dict[str, str]:
        """Returns what a line of the table says of it."""
        columns = {
            name.replace("_", " "): text(value)
            for name, value in dataclasses.asdict(self).items()
        }
        return {**columns, "backend": keras.backend.backend()}

    def folder_name(self) -> str:
        """Returns a name that no other run has."""
        columns = self.columns()
        digest = hashlib.sha256(repr(columns).encode()).hexdigest()[:8]
        words = (
            self.network,
            self.dataset,
            self.norm,
            f"{self.epochs}epochs",
            f"seed{self.seed}",
            digest,
        )
        return file_name(" ".join(words))

    def __str__(self) -> str:
        preset = f" ({self.preset})" if self.preset else ""
        return (
            f"{self.network}, {self.dataset}, {self.norm}{preset}, "
            f"{self.epochs} epochs, batch {self.batch_size}, "
            f"rate {self.learning_rate:g}, seed {self.seed}"
        )


def deconvolved(
    model: keras.Model, experiment: Experiment, **settings: Any
) -> keras.Model:
    """Returns the network with the normalization of an experiment.

    Args:
        model: With batch normalization.
        experiment: Its preset, iterations and epsilon go before `settings`.
        **settings: Arguments of `keras_deconv.deconvolutionize`.
    """
    if experiment.norm == BATCH:
        return model
    settings["preset"] = experiment.preset
    if experiment.distributed:
        settings["synchronized"] = True
    for name in ("num_iterations", "epsilon"):
        value = getattr(experiment, name)
        if value is not None:
            settings[name] = value
    return keras_deconv.deconvolutionize(model, **settings)


def file_name(words: str) -> str:
    """Returns words as a name of a file that needs no quotes."""
    return re.sub(r"[^\w.]+", "-", words)


def text(value: Any) -> str:
    """Writes a value as it stands in the table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
    return str(value)

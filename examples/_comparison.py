"""Batch normalization against network deconvolution, in equal conditions."""

import statistics
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

import keras
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn
from rich.progress import TimeRemainingColumn

import keras_deconv
from _datasets import Dataset
from _network import build_network
from _training import Run
from _training import train

BATCH_NORM = "batch normalization"
DECONV = "network deconvolution"


@dataclass(frozen=True)
class Settings:
    """What every run has in common."""

    widths: Sequence[int]
    batch_size: int
    steps: int
    seeds: Sequence[int]


@dataclass(frozen=True)
class Candidate:
    """A network with a learning rate, trained once for each seed.

    Attributes:
        network: `BATCH_NORM` or `DECONV`.
        learning_rate: Where the cosine schedule starts.
        model: The model that the first seed has trained.
        runs: One run for each seed.
    """

    network: str
    learning_rate: float
    model: keras.Model
    runs: Sequence[Run]

    @property
    def final_accuracies(self) -> list[float]:
        """Test accuracy at the end, for each seed."""
        return [run.accuracies[-1] for run in self.runs]

    @property
    def mean_accuracy(self) -> float:
        """Test accuracy at the end, as the mean over the seeds."""
        return statistics.fmean(self.final_accuracies)


def compare(
    data: Dataset,
    settings: Settings,
    batch_norm_rates: Iterable[float],
    deconv_rate: float,
) -> list[Candidate]:
    """Trains batch normalization at each rate, then the deconvolved twin."""
    plan = [(BATCH_NORM, rate) for rate in batch_norm_rates]
    plan.append((DECONV, deconv_rate))
    with _progress() as progress:
        return [
            _train_candidate(network, rate, data, settings, progress)
            for network, rate in plan
        ]


def best(candidates: Iterable[Candidate], network: str) -> Candidate:
    """Returns the candidate of this network with the best test accuracy."""
    return max(
        (c for c in candidates if c.network == network),
        key=lambda candidate: candidate.mean_accuracy,
    )


def _train_candidate(
    network: str,
    learning_rate: float,
    data: Dataset,
    settings: Settings,
    progress: Progress,
) -> Candidate:
    task = progress.add_task(
        f"{network}, learning rate {learning_rate:g}",
        total=settings.steps * len(settings.seeds),
    )
    models, runs = [], []
    for seed in settings.seeds:
        model = build(network, data, settings, seed)
        run = train(
            model,
            data,
            learning_rate=learning_rate,
            batch_size=settings.batch_size,
            steps=settings.steps,
            seed=seed,
            on_step=lambda: progress.advance(task),
        )
        models.append(model)
        runs.append(run)
    return Candidate(network, learning_rate, models[0], runs)


def build(
    network: str, data: Dataset, settings: Settings, seed: int
) -> keras.Model:
    """Builds the network; a seed gives both networks the same kernels."""
    keras.utils.set_random_seed(seed)
    shape = data.x_train.shape[1:]
    model = build_network(shape, data.classes, settings.widths)
    if network == DECONV:
        model = keras_deconv.deconvolutionize(model)
    return model


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )

"""How fast the loss falls, for networks and their learning rates."""

import csv
import itertools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import keras
import numpy as np
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TimeElapsedColumn

from _datasets import CLASSES
from _datasets import Dataset
from _environment import RUN_FILE
from _training import EVALUATION_BATCH
from _training import batches

PLAIN = "plain"
EVALUATIONS = 10
# The training loss at the end is the mean of so many steps.
LAST_STEPS = 10


@dataclass(frozen=True)
class Method:
    """A network with a learning rate.

    Attributes:
        network: What the tables call it.
        learning_rate: Of SGD.
        build: Builds the network.
    """

    network: str
    learning_rate: float
    build: Callable[[], keras.Model]

    @property
    def label(self) -> str:
        """Network and learning rate, for legends."""
        return f"{self.network}, {self.learning_rate:g}"


@dataclass
class Trace:
    """How the loss of one training run has fallen.

    Attributes:
        objective: Name of the loss.
        method: What was trained.
        seed: Of the kernels and of the order of the batches.
        losses: Training loss of every step, before it.
        steps: Steps after which the network was tested.
        test_losses: Loss on the test set at these times.
        accuracies: Share of the test set that was classified correctly.
    """

    objective: str
    method: Method
    seed: int
    losses: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    test_losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    @property
    def final_loss(self) -> float:
        """Mean training loss of the last steps."""
        return float(np.mean(self.losses[-LAST_STEPS:]))

    @property
    def has_diverged(self) -> bool:
        """Whether the loss ended above where it began, or nowhere."""
        return not self.final_loss <= self.losses[0]


def train_all(
    data: Dataset,
    methods: Iterable[Method],
    objectives: Mapping[str, Callable[[], keras.losses.Loss]],
    *,
    seeds: Sequence[int],
    steps: int,
    batch_size: int,
    momentum: float = 0.0,
) -> Iterator[Trace]:
    """Trains every network with every loss, once for each seed.

    By SGD with a constant learning rate. Targets are one-hot. A seed gives
    all networks the same batches. Yields every run when it is done, those of
    a network one after the other.
    """
    runs = list(itertools.product(objectives.items(), methods, seeds))
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    ) as progress:
        task = progress.add_task("", total=steps * len(runs))
        for (objective, make_loss), method, seed in runs:
            trace = Trace(objective, method, seed)
            progress.update(task, description=f"{objective}: {method.label}")
            optimizer = keras.optimizers.SGD(
                method.learning_rate, momentum=momentum
            )
            _train(
                trace,
                data,
                optimizer,
                make_loss(),
                steps,
                batch_size,
                on_step=lambda: progress.advance(task),
            )
            yield trace


def _train(
    trace: Trace,
    data: Dataset,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    steps: int,
    batch_size: int,
    on_step: Callable[[], None],
) -> None:
    """Trains, and tests every now and then."""
    keras.utils.set_random_seed(trace.seed)
    model = trace.method.build()
    model.compile(optimizer, loss)
    targets = np.eye(CLASSES, dtype="float32")
    order = batches(len(data.x_train), batch_size, trace.seed)
    interval = -(-steps // EVALUATIONS)
    for step in range(1, steps + 1):
        picks = next(order)
        model.reset_metrics()  # Older Keras returns the mean of all steps.
        value = model.train_on_batch(
            data.x_train[picks], targets[data.y_train[picks]]
        )
        trace.losses.append(float(value))
        on_step()
        if step % interval == 0 or step == steps:
            outputs = model.predict(
                data.x_test, batch_size=EVALUATION_BATCH, verbose=0
            )
            labels = data.y_test
            trace.steps.append(step)
            trace.test_losses.append(float(loss(targets[labels], outputs)))
            correct = np.argmax(outputs, axis=1) == labels
            trace.accuracies.append(float(np.mean(correct)))


def collect(runs: Iterable[Trace], folder: Path) -> list[Trace]:
    """Returns all runs, and keeps the logs of those that are done.

    In `training.csv` a row a step, in `test.csv` a row a test.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Written at the end: without it, the logs are of a run that was cut short.
    (folder / RUN_FILE).unlink(missing_ok=True)
    traces = []
    for trace in runs:
        traces.append(trace)
        _write(folder / "training.csv", ("step", "loss"), traces, _steps_of)
        _write(
            folder / "test.csv", ("step", "loss", "accuracy"), traces, _tests_of
        )
    return traces


def _steps_of(trace: Trace) -> Iterator[tuple[int, float]]:
    return enumerate(trace.losses, start=1)


def _tests_of(trace: Trace) -> Iterator[tuple[int, float, float]]:
    return zip(trace.steps, trace.test_losses, trace.accuracies, strict=True)


def _write(
    path: Path,
    columns: Sequence[str],
    traces: Iterable[Trace],
    rows_of: Callable[[Trace], Iterator[tuple[float, ...]]],
) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["objective", "network", "learning_rate", "seed", *columns]
        )
        for trace in traces:
            method = trace.method
            start = trace.objective, method.network, method.learning_rate
            writer.writerows(
                (*start, trace.seed, *row) for row in rows_of(trace)
            )

"""Training runs: resumable, logged, and one line in a table at their end."""

import contextlib
import datetime
import math
import shutil
import sys
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

import _records
import keras_deconv
from _batches import Batches
from _batches import FollowEpochs
from _distribution import data_parallel
from _environment import environment
from _experiment import FLOAT32
from _experiment import Experiment
from _experiment import text
from _optimizer import cosine_sgd

RESULTS = "results.csv"
LOG = "log.csv"
BACKUP = "backup"


@dataclass(frozen=True)
class Task:
    """What an experiment trains, and on what.

    Attributes:
        build: Returns the network, built anew.
        train: Batches to train on.
        test: Batches to evaluate on, after each epoch.
        loss: Returns the loss.
        metrics: Returns the metrics; one of them is named `"accuracy"`.
        optimizer: From learning rate, steps and weight decay.
        save: Where the trained network is saved, if at all.
    """

    build: Callable[[], keras.Model]
    train: Batches
    test: Batches
    loss: Callable[[], keras.losses.Loss] = lambda: (
        keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    metrics: Callable[[], list[keras.metrics.Metric]] = lambda: [
        keras.metrics.SparseCategoricalAccuracy("accuracy")
    ]
    optimizer: Callable[..., keras.optimizers.Optimizer] = cosine_sgd
    save: Path | None = None


class Stopwatch(keras.callbacks.Callback):
    """Logs the seconds of training in each epoch, evaluation left out."""

    def on_epoch_begin(self, epoch, logs=None):
        """Starts."""
        self._start = time.perf_counter()
        self._seconds = None

    def on_test_begin(self, logs=None):
        """Stops: the steps are over."""
        self._seconds = time.perf_counter() - self._start

    def on_epoch_end(self, epoch, logs=None):
        """Adds what it has measured to the log."""
        logs["seconds"] = self._seconds


class StopDiverged(keras.callbacks.Callback):
    """Ends a run after an epoch whose loss is not finite.

    `keras.callbacks.TerminateOnNaN` looks at the loss of every step, and so
    waits for the device every time.
    """

    def on_epoch_end(self, epoch, logs=None):
        """Looks at the mean loss of the epoch."""
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True


def run_all(
    tasks: Sequence[tuple[Experiment, Task]],
    command: Callable[[Experiment], str],
    output: Path,
) -> list[dict[str, str]]:
    """Runs what the table in `output` lacks, and returns all lines.

    Started again after a kill, it goes on after the last whole epoch.

    Args:
        tasks: What is to be in the table, and what it trains.
        command: What makes the line of an experiment again.
        output: Folder of the table, and of a folder for each run.
    """
    console = Console(soft_wrap=True)
    rows = []
    for count, (experiment, task) in enumerate(tasks, 1):
        title = f"{count} of {len(tasks)}: {experiment}"
        row = _records.find(output / RESULTS, experiment.columns())
        if row is None:
            console.print(f"[bold]{title}[/bold]")
            row = run(experiment, task, command(experiment), output)
        console.print(
            f"{title}: test accuracy {float(row['final test accuracy']):.2%}"
        )
        rows.append(row)
    return rows


def run(
    experiment: Experiment, task: Task, command: str, output: Path
) -> dict[str, str]:
    """Trains one network, adds its line to the table, and returns it."""
    folder = output / experiment.folder_name()
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.clear_session()  # Frees the network of the run before.
    keras.utils.set_random_seed(experiment.seed)
    with data_parallel(experiment.distributed):
        with _precision(experiment.precision):
            model = task.build()
        model.compile(
            task.optimizer(
                experiment.learning_rate,
                experiment.epochs * len(task.train),
                experiment.weight_decay,
            ),
            task.loss(),
            metrics=task.metrics(),
        )
        _records.end_line(folder / LOG)
        model.fit(
            task.train,
            epochs=experiment.epochs,
            validation_data=task.test,
            # Batches are shuffled already, and made ahead in their order.
            shuffle=False,
            callbacks=_callbacks(folder, task.train, experiment.seed),
            verbose=1 if sys.stdout.isatty() else 2,
        )
    if task.save is not None:
        model.save(task.save)
    row = {
        **experiment.columns(),
        **_outcome(_records.read_epochs(folder / LOG)),
        **_machine(),
        "command": command,
        "run": folder.name,
    }
    _records.append(output / RESULTS, row)
    shutil.rmtree(folder / BACKUP, ignore_errors=True)
    return row


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Gives the layers that are built within it a policy."""
    before = keras.config.dtype_policy()
    if name != FLOAT32:
        keras.config.set_dtype_policy(f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _callbacks(
    folder: Path, batches: Batches, seed: int
) -> Iterable[keras.callbacks.Callback]:
    """Returns them in the order in which they need each other."""
    return [
        FollowEpochs(batches, seed),
        StopDiverged(),
        Stopwatch(),
        keras.callbacks.CSVLogger(folder / LOG, append=True),
        # Its files are deleted when the line is written, no sooner. A kill
        # while it saves leaves the copy of the epoch before.
        keras.callbacks.BackupAndRestore(
            str(folder / BACKUP),
            double_checkpoint=True,
            delete_checkpoint=False,
        ),
    ]


def _outcome(epochs: Sequence[dict[str, float]]) -> dict[str, str]:
    """Sums up the log of a run. The best epoch is chosen by the test set."""
    last = epochs[-1]
    found: dict[str, Any] = {
        "final test accuracy": last["val_accuracy"],
        "best test accuracy": max(each["val_accuracy"] for each in epochs),
        "train loss": last["loss"],
        "seconds": sum(each["seconds"] for each in epochs),
        "diverged": not math.isfinite(last["loss"]),
    }
    if "val_mean_iou" in last:
        found["final mean IoU"] = last["val_mean_iou"]
        found["best mean IoU"] = max(each["val_mean_iou"] for each in epochs)
    return {name: text(value) for name, value in found.items()}


def _machine() -> dict[str, str]:
    """Says what the run has run on."""
    found = environment()
    names = ("keras", found["backend"], "numpy", "python")
    versions = [f"{name} {found[name]}" for name in names]
    versions.append(f"keras-deconv {keras_deconv.__version__}")
    return {
        "versions": ", ".join(versions),
        "device": found["GPU"]
        or f"{found['CPU']}, {found['usable cores']} cores",
        "date": datetime.datetime.now(datetime.UTC).isoformat(
            timespec="seconds"
        ),
        "commit": text(found["git commit"]),
    }

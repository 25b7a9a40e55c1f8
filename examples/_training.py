"""One training run, measured."""

import statistics
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field

import keras
import numpy as np

from _datasets import Dataset

MOMENTUM = 0.9
MIN_EVALUATIONS = 4
EVALUATION_BATCH = 500


@dataclass
class Run:
    """What one training run has shown.

    Attributes:
        epochs: When it was evaluated, in epochs.
        accuracies: Test accuracy at these times.
        losses: Mean training loss since the time before.
        step_seconds: Duration of every step.
    """

    epochs: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)

    @property
    def step_milliseconds(self) -> float:
        """The median step. The first does not count: it compiles."""
        steps = self.step_seconds[1:] or self.step_seconds
        return 1e3 * statistics.median(steps)


def train(
    model: keras.Model,
    data: Dataset,
    *,
    learning_rate: float,
    batch_size: int,
    steps: int,
    seed: int,
    on_step: Callable[[], None],
) -> Run:
    """Trains by SGD with momentum and a cosine schedule.

    The order of the batches depends on the seed alone. The test accuracy is
    taken after every epoch, and at least `MIN_EVALUATIONS` times.
    """
    compile_model(model, learning_rate, steps)
    epoch = steps_per_epoch(data, batch_size)
    interval = min(epoch, -(-steps // MIN_EVALUATIONS))
    order = batches(len(data.x_train), batch_size, seed)
    run = Run()
    losses: list[float] = []
    for step in range(1, steps + 1):
        picks = next(order)
        images, labels = data.x_train[picks], data.y_train[picks]
        start = time.perf_counter()
        model.reset_metrics()  # Older Keras returns the mean of all steps.
        loss = model.train_on_batch(images, labels)
        run.step_seconds.append(time.perf_counter() - start)
        losses.append(float(loss))
        on_step()
        if step % interval == 0 or step == steps:
            run.epochs.append(step / epoch)
            run.losses.append(statistics.fmean(losses))
            losses.clear()
            run.accuracies.append(accuracy(model, data.x_test, data.y_test))
    return run


def compile_model(model: keras.Model, learning_rate: float, steps: int) -> None:
    """Prepares a model for `steps` steps of training."""
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        keras.optimizers.SGD(schedule, momentum=MOMENTUM),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def steps_per_epoch(data: Dataset, batch_size: int) -> int:
    """Returns how many full batches the training images make."""
    count = len(data.x_train) // batch_size
    if not count:
        raise ValueError(
            "a batch must not be larger than the training set; got "
            f"{batch_size} for {len(data.x_train)} images"
        )
    return count


def batches(count: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Yields the indices of full batches, shuffled anew for each epoch."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(count)
        for start in range(0, count - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def accuracy(
    model: keras.Model, images: np.ndarray, labels: np.ndarray
) -> float:
    """Returns the share of images that the model classifies correctly."""
    logits = model.predict(images, batch_size=EVALUATION_BATCH, verbose=0)
    return float(np.mean(np.argmax(logits, axis=1) == labels))

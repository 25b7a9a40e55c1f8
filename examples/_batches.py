"""Batches made in NumPy, the same on every backend and after a restart."""

import functools
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import keras
import numpy as np

Batch: TypeAlias = tuple[np.ndarray, np.ndarray]
# From the indices of the samples and a generator of random numbers.
MakeBatch: TypeAlias = Callable[[np.ndarray, np.random.Generator], Batch]


class Batches(keras.utils.PyDataset):
    """Batches that depend on the seed, the epoch and their index alone.

    So a run that is resumed goes on with the batches it would have had, in
    whichever order threads make them. Batches are made ahead of time.
    Keras' own workers are not used: they keep what they made ahead for the
    next epoch, which would then not start anew.

    Args:
        make: Makes a batch of the samples with these indices.
        count: Number of samples.
        batch_size: Number of samples in a batch.
        seed: Shuffles the samples anew in each epoch and leaves out what
            makes no full batch. Without one, the order stays, and all
            samples are there.
        steps: The most batches in an epoch.
        threads: Batches that are made at the same time.
    """

    def __init__(
        self,
        make: MakeBatch,
        count: int,
        batch_size: int,
        *,
        seed: int | None = None,
        steps: int | None = None,
        threads: int = 2,
    ):
        super().__init__()
        full = count // batch_size
        length = full if seed is not None else -(-count // batch_size)
        if not length:
            raise ValueError(
                "A batch must not be larger than the training set. Received: "
                f"batch_size={batch_size} for {count} images"
            )
        self._make = make
        self._count = count
        self._batch_size = batch_size
        self._seed = seed
        self._length = length if steps is None else min(length, steps)
        self._threads = threads
        self._pending: dict[int, Future[Batch]] = {}
        self.start_epoch(0)

    @property
    def sizes(self) -> set[int]:
        """How many samples batches have."""
        last = min(self._length * self._batch_size, self._count)
        rest = last % self._batch_size
        return {self._batch_size, rest} - {0} if last > rest else {rest}

    def start_epoch(self, epoch: int) -> None:
        """Shuffles for an epoch."""
        self._pending.clear()
        self._epoch = epoch
        self._order = np.arange(self._count)
        if self._seed is not None:
            generator = np.random.default_rng([self._seed, epoch])
            self._order = generator.permutation(self._count)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        end = min(index + self._threads + 1, self._length)
        for ahead in range(index, end):
            if ahead not in self._pending:
                picks = self._order[ahead * self._batch_size :][
                    : self._batch_size
                ]
                generator = np.random.default_rng(
                    [self._seed or 0, self._epoch, ahead]
                )
                self._pending[ahead] = _pool(self._threads).submit(
                    self._make, picks, generator
                )
        return self._pending.pop(index).result()


class FollowEpochs(keras.callbacks.Callback):
    """Gives every epoch its own random numbers: a resumed run skips some.

    Both the batches and the layers that draw numbers. Keras does not save
    the state of these with the weights; `Dropout` on PyTorch has none, and
    draws from PyTorch's own generator.

    Args:
        batches: What the model is trained on.
        seed: Of the run.
    """

    def __init__(self, batches: Batches, seed: int):
        super().__init__()
        self._batches = batches
        self._seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        """Shuffles, and seeds what draws numbers."""
        self._batches.start_epoch(epoch)
        sequence = np.random.SeedSequence([self._seed, epoch])
        (seed,) = sequence.generate_state(1)
        keras.utils.set_random_seed(int(seed))
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                first, _ = keras.ops.convert_to_numpy(variable)
                variable.assign(np.array([first, seed], "uint32"))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="batches")

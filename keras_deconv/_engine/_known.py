"""Numbers and branches that are known at once, where PyTorch computes."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras


class Numbers:
    """The first element of some variables: a number where it is known.

    PyTorch computes as it goes, so that Python can tell what comes next, but
    to read a variable is to wait for the GPU. What a layer has written itself
    it knows without, as long as nobody else writes. There is nothing to know
    while shapes are inferred, nor in graphs, those of `torch.compile` too:
    there, tensors are returned.

    Args:
        *variables: Of Keras.
    """

    def __init__(self, *variables: Any) -> None:
        self._variables = variables
        self._numbers: tuple[Any, ...] = ()
        self._seen: list[tuple[Any, int]] = []

    def read(self) -> tuple[Any, ...]:
        """Returns a number or a tensor for each variable."""
        values = [keras.ops.convert_to_tensor(v) for v in self._variables]
        firsts = tuple(each[0] if len(each.shape) else each for each in values)
        if not _computes_at_once(values[0]):
            return firsts
        if not self._are_as_seen(values):
            self._numbers = tuple(each.item() for each in firsts)
            self._seen = []
        return self._numbers

    def keep(self, *numbers: Any) -> None:
        """Remembers what has just been written."""
        values = [keras.ops.convert_to_tensor(v) for v in self._variables]
        if keras.backend.backend() != "torch" or values[0].is_inference():
            return
        self._numbers = numbers
        self._seen = [(each, each._version) for each in values]

    def _are_as_seen(self, values: Sequence[Any]) -> bool:
        return bool(self._seen) and all(
            value is seen and value._version == version
            for value, (seen, version) in zip(values, self._seen, strict=True)
        )


def cond(
    condition: Any, this: Callable[[], Any], other: Callable[[], Any]
) -> Any:
    """`ops.cond`, which on PyTorch takes as long as a layer, if known.

    There it makes an operation with a name of its own on each call, for which
    `torch.compile` starts anew.
    """
    if isinstance(condition, bool):
        return this() if condition else other()
    if keras.backend.backend() == "torch":
        # On the meta device there is nothing to tell.
        return this() if condition.is_meta or condition else other()
    return keras.ops.cond(condition, this, other)


def _computes_at_once(tensor: Any) -> bool:
    if keras.backend.backend() != "torch":
        return False
    import torch

    return not (tensor.is_meta or torch.compiler.is_compiling())

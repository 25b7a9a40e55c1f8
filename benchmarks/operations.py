"""How many operations does a training step start, on PyTorch?

    KERAS_BACKEND=torch python benchmarks/operations.py --network resnet18

A GPU that is fast for its work waits for Python and its driver, which start one
operation after the other; what counts is how many. Views start none. Nothing is
timed, and a GPU is not needed: roots are computed by products, as there. One
period of the default preset is counted, for every form of a network.
"""

import os
import statistics
from typing import Any
from unittest.mock import patch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "torch")

import keras

from _networks import add_ratios
from _networks import batch
from _networks import forms
from _networks import make_parser
from _networks import prepare
from _networks import publish
from keras_deconv.ops import _newton_schulz

QUESTION = "How many operations does a training step start, on PyTorch?"
PERIOD = 8


def count_operations(model: keras.Model, data: tuple[Any, Any]) -> list[int]:
    """Returns how many operations each step of a period starts.

    The first one has a new D in every layer.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        started = 0

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.started += not is_view(function)
            return function(*args, **(kwargs or {}))

    def step() -> int:
        with Count() as count:
            model.train_on_batch(*data)
        return count.started

    # The first period makes the optimizer's variables, and constants.
    return [step() for _ in range(2 * PERIOD)][PERIOD:]


def measure(
    form: str, model: keras.Model, data: tuple[Any, Any]
) -> dict[str, Any]:
    """Returns the record of a form of a network."""
    prepare(model)
    first, *others = count_operations(model, data)
    return {
        "form": form,
        "step with a new D": first,
        "step with an old D": statistics.median(others),
        "mean": statistics.mean([first, *others]),
    }


def is_view(function: Any) -> bool:
    """Whether an operation returns its input, seen in another way."""
    if function._schema.name == "aten::_unsafe_view":
        return True
    aliases = [value.alias_info for value in function._schema.returns]
    return any(alias and not alias.is_write for alias in aliases)


def main() -> None:
    """Counts, writes the result file and prints it."""
    parser = make_parser(__doc__)
    parser.set_defaults(batch_size=4)
    options = parser.parse_args()
    if keras.backend.backend() != "torch":
        parser.error("KERAS_BACKEND must be torch")
    by_products = patch.object(
        _newton_schulz, "has_fast_eigh", lambda matrix: False
    )
    with by_products:
        records = [
            measure(form, model, batch(options.network, options.batch_size))
            for form, model in forms(options.network).items()
        ]
    add_ratios(records, "mean")
    publish("operations", QUESTION, options, records)


if __name__ == "__main__":
    main()

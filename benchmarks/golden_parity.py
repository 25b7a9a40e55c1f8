"""How far are the layers from what the authors' layers compute?

    KERAS_BACKEND=jax python benchmarks/golden_parity.py

Prints, as Markdown, the largest relative error of each quantity over the
golden cases of the test suite and both training steps: the largest difference
over the largest expected value. Cases of 15 iterations stand apart, where
float32 rounding is amplified most.
"""

import collections
import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TESTS = pathlib.Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "layers")]

import keras
import test_golden
from keras import ops

import golden
import gradients
from compare import relative_error


def errors(name: str) -> dict[str, float]:
    """Returns the largest error of each quantity of one case."""
    case = golden.load(name)
    layer = test_golden.make_layer(case)
    layer.build(case["x0"].shape)
    test_golden.set_parameters(layer, case)
    found: dict[str, float] = collections.defaultdict(float)

    def compare(quantity: str, actual: Any, expected: Any) -> None:
        error = relative_error(ops.reshape(actual, expected.shape), expected)
        found[quantity] = max(found[quantity], float(error))

    for step in "01":
        outputs, grad_inputs, grads = gradients.training_step(
            layer, case[f"x{step}"], case[f"upstream{step}"]
        )
        grad_inputs = golden.unpad(case, ops.convert_to_numpy(grad_inputs))
        compare("outputs", outputs, case[f"y{step}"])
        compare("gradient of inputs", grad_inputs, case[f"grad_x{step}"])
        compare("gradient of kernel", grads[0], case[f"grad_kernel{step}"])
        compare("gradient of bias", grads[1], case[f"grad_bias{step}"])
        for state in ("moving_mean", "moving_deconv"):
            compare(state, getattr(layer, state), case[f"{state}{step}"])
    compare("inference", layer(case["x_eval"]), case["y_eval"])
    compare("folded inference", layer.fold()(case["x_eval"]), case["y_eval"])
    return dict(found)


def main() -> None:
    """Prints the table."""
    worst: dict[int, dict[str, float]] = {
        5: collections.defaultdict(float),
        15: collections.defaultdict(float),
    }
    for name in test_golden.CASES:
        iterations = golden.load(name)["config"]["iterations"]
        for quantity, error in errors(name).items():
            worst[iterations][quantity] = max(
                worst[iterations][quantity], error
            )
    print(f"| {keras.backend.backend()} | 5 iterations | 15 iterations |")
    print("| --- | --- | --- |")
    for quantity in worst[5]:
        print(
            f"| {quantity} | {worst[5][quantity]:.1e} "
            f"| {worst[15][quantity]:.1e} |"
        )


if __name__ == "__main__":
    main()

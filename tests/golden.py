"""What the paper authors' own layers compute, as arrays."""

import json
import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "data" / "golden"


def names(prefix):
    """Returns the cases of one kind, `"conv"`, `"dense"` or `"isqrt"`."""
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}_*.npz"))


def load(name):
    """Returns the arrays of a case, and its settings under `"config"`.

    Inputs of a convolution are padded here as its settings say: the layers
    then run with `padding="valid"`.
    """
    with np.load(FOLDER / f"{name}.npz") as arrays:
        case = dict(arrays)
    case["config"] = json.loads(str(case["config"]))
    if width := case["config"].get("padding"):
        for key in ("x0", "x1", "x_eval"):
            case[key] = np.pad(case[key], [(0, 0), *[(width,) * 2] * 2, (0, 0)])
    return case


def unpad(case, grad_inputs):
    """Returns the gradient of the inputs as they were before padding."""
    if width := case["config"].get("padding"):
        return grad_inputs[:, width:-width, width:-width]
    return grad_inputs


def tolerance(case):
    """Returns the largest relative error: rounding grows with the steps."""
    return 2e-4 if case["config"]["iterations"] == 15 else 1e-5

"""Which models can be deconvolved, trained, saved, loaded, folded and restored?

    KERAS_BACKEND=torch python benchmarks/zoo.py --output outputs/torch.json
    python benchmarks/zoo.py --page outputs/*.json > docs/models.md

Builds models of keras.applications, keras-cv and keras-hub with random
weights, converts each, takes one training step on noise, and compares what
the model predicts before and after a file, folding and restoring. Started
again it goes on after the last model.
"""

import argparse
import collections
import os
import tempfile
import warnings
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from keras import ops

import keras_deconv
from _results import beside
from _results import environment
from _results import read
from _results import result_path
from _results import write
from _zoo import LIBRARIES
from keras_deconv.layers import Whitening
from render import environment_line
from render import table

QUESTION = (
    "Which models can be deconvolved, trained, saved, loaded, folded and "
    "restored?"
)
BATCH = 8
KINDS: dict[str, type[Any] | tuple[type[Any], ...]] = {
    "conv": (layers.Conv1D, layers.Conv2D, layers.Conv3D),
    "depthwise": layers.DepthwiseConv2D,
    "separable": layers.SeparableConv2D,
    "transposed": layers.Conv2DTranspose,
    "dense": layers.Dense,
    "einsum": layers.EinsumDense,
    "BN": layers.BatchNormalization,
}


def examine(name: str, make: Any) -> dict[str, Any]:
    """Returns the record of one model; the first failure ends it."""
    record: dict[str, Any] = {"model": name}
    try:
        for key, value in stages(make()):
            record[key] = value
    except Exception as error:
        first = str(error).strip().splitlines()[:1]
        record["error"] = f"{type(error).__name__}: {''.join(first)}"[:200]
    return record


def stages(model: keras.Model) -> Iterable[tuple[str, Any]]:
    """Yields what is found, stage by stage."""
    yield "layers before", describe(model)
    twin = keras_deconv.deconvolutionize(model)
    yield "layers after", describe(twin)
    yield "BN left", count(twin)["BN"]
    yield "type kept", isinstance(twin, type(model))
    batch = noise(model)
    yield "step finite", train(twin, batch)
    expected = predict(twin, batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "twin.keras")
        twin.save(path)
        loaded = keras.models.load_model(path)
    yield "reload difference", difference(predict(loaded, batch), expected)
    folded = keras_deconv.fold(twin)
    yield "fold difference", difference(predict(folded, batch), expected)
    restored = keras_deconv.restore(twin)
    yield "restore difference", difference(predict(restored, batch), expected)


def count(model: keras.Model) -> collections.Counter[str]:
    """Counts layers with a kernel, deconvolved ones and normalizations.

    Those that are not built are not counted: they are not used.
    """
    found: collections.Counter[str] = collections.Counter()
    for layer in model._flatten_layers():
        if not layer.built:
            continue
        if isinstance(layer, Whitening):
            found["deconv"] += 1
            continue
        for kind in reversed(KINDS):
            if isinstance(layer, KINDS[kind]):
                found[kind] += 1
                break
    return found


def describe(model: keras.Model) -> str:
    """Writes the counts of layers."""
    found = count(model)
    return " ".join(
        f"{kind} {found[kind]}" for kind in ("deconv", *KINDS) if found[kind]
    )


def noise(model: keras.Model) -> Any:
    """Returns a batch of noise in the structure that a model takes."""
    rng = np.random.default_rng(0)
    return keras.tree.map_structure(
        lambda tensor: rng.normal(size=(BATCH, *tensor.shape[1:])).astype(
            "float32"
        ),
        model.input,
    )


def train(twin: keras.Model, batch: Any) -> bool:
    """Takes a step towards zero outputs; returns whether all is finite.

    Tasks have losses of their own, for labels that noise has not: what is
    trained is the same network without them.
    """
    inputs = twin.inputs if len(twin.inputs) > 1 else twin.inputs[0]
    network = keras.Model(inputs, keras.tree.flatten(twin.outputs))
    targets = [
        np.zeros(output.shape, "float32")
        for output in keras.tree.flatten(network(batch))
    ]
    # Compiling takes longer than one step of all operations in turn.
    network.compile(
        keras.optimizers.SGD(1e-3), ["mse"] * len(targets), run_eagerly=True
    )
    given = batch
    if not isinstance(batch, np.ndarray):
        given = keras.tree.flatten(batch)
    loss = network.train_on_batch(given, targets)
    finite = [np.isfinite(np.ravel(loss)).all()]
    finite += [
        np.isfinite(ops.convert_to_numpy(weight)).all()
        for weight in twin.weights
    ]
    return bool(np.all(finite))


def predict(model: keras.Model, batch: Any) -> np.ndarray:
    """Returns all outputs as one vector."""
    outputs = keras.tree.flatten(model(batch, training=False))
    return np.concatenate(
        [ops.convert_to_numpy(output).ravel() for output in outputs]
    )


def difference(found: np.ndarray, expected: np.ndarray) -> float | None:
    """Returns the largest difference over the largest expected value."""
    value = float(np.abs(found - expected).max() / np.abs(expected).max())
    return value if np.isfinite(value) else None


def page(paths: Iterable[Path]) -> str:
    """Returns docs/models.md: one table for each library."""
    results = [read(path) for path in paths]
    parts = [
        "# Models",
        "Generated by `benchmarks/zoo.py`; do not edit. Models that were "
        "deconvolutionized,\ntrained for a step, saved and loaded, folded, and "
        "restored, on each backend. Weights\nare random, the step is one of "
        f'{BATCH} images of noise, eager, in float32. "step" says\nwhether its '
        "loss and all weights after it are finite; the other three are the\n"
        "largest difference in predictions to the twin, relative to the "
        "largest output. An\nempty cell was not run.",
    ]
    for library in LIBRARIES:
        rows = [
            row
            for result in results
            for row in _rows(result.environment["backend"], result.records)
            if row["library"] == library
        ]
        if rows:
            parts += [f"## {library}", table(_merge(rows))]
    parts.append("## Made with")
    parts += [
        f"```sh\nKERAS_BACKEND={result.environment['backend']} "
        f"{result.command}\n```\n\n{environment_line(result.environment)}"
        for result in results
    ]
    return "\n\n".join(parts)


def _rows(
    backend: str, records: Iterable[Mapping[str, Any]]
) -> Iterable[dict[str, Any]]:
    for record in records:
        failed = record.get("error")
        yield {
            "library": record["library"],
            "model": record["model"],
            "before": record.get("layers before", ""),
            "after": record.get("layers after", ""),
            "BN left": record.get("BN left"),
            "backend": backend,
            "result": failed
            or (
                f"{'finite' if record['step finite'] else 'NOT FINITE'} / "
                f"{_short(record['reload difference'])} / "
                f"{_short(record['fold difference'])} / "
                f"{_short(record['restore difference'])}"
            ),
        }


def _merge(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for row in rows:
        line = merged.setdefault(
            row["model"],
            {key: row[key] for key in ("model", "before", "after", "BN left")},
        )
        title = f"{row['backend']}: step / reload / fold / restore"
        line[title] = row["result"]
    return list(merged.values())


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.0e}" if value else "0"


def main(arguments: Sequence[str] | None = None) -> None:
    """Examines the models, or prints the page."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    add("--models", nargs="+", help="names; all by default")
    add("--output", type=result_path, default=Path("outputs/zoo.json"))
    add("--page", type=Path, nargs="+", metavar="RESULT", help="print the page")
    options = parser.parse_args(arguments)
    if options.page:
        print(page(options.page))
        return
    environment()
    records = read(options.output).records if options.output.exists() else []
    done = {(record["library"], record["model"]) for record in records}
    beside(options.output)
    warnings.simplefilter("ignore", keras_deconv.SmallBatchWarning)
    for library in options.libraries:
        for name, make in LIBRARIES[library]().items():
            wanted = options.models is None or name in options.models
            if not wanted or (library, name) in done:
                continue
            keras.utils.clear_session()
            keras.utils.set_random_seed(0)
            record = {"library": library, **examine(name, make)}
            records.append(record)
            write(options.output, QUESTION, _command(options), records)
            print(record, flush=True)


def _command(options: argparse.Namespace) -> str:
    words = ["python benchmarks/zoo.py"]
    if options.libraries != list(LIBRARIES):
        words += ["--libraries", *options.libraries]
    if options.models:
        words += ["--models", *(f'"{name}"' for name in options.models)]
    return " ".join(words)


if __name__ == "__main__":
    main()

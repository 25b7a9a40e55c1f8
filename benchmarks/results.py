"""Which results of the paper have been measured, and what was found?

    python benchmarks/results.py

Takes the logs that the examples have left in outputs/ into benchmarks/logs/,
where a run replaces an older one of the same settings, and writes
docs/results.md and its curves from all that is there. What has no log is said
not to have been run. Other folders, from other machines, go after --outputs.
"""

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The logs are read as the examples write them.
sys.path.append(str(Path(__file__).parent.parent / "examples"))

import pandas as pd

from _environment import RUN_FILE
from _logs import LOGS
from _logs import keep
from _training_results import spread
from _training_results import training_runs
from render import environment_line
from render import table

NOT_RUN = "Not run yet."
HEADER = """# Results

Made by `python benchmarks/results.py` from the logs of `examples/`; each
table says by which commands and on which machine. `DIR` is the folder of the
data. Accuracies are those of the test set after the last epoch, as the mean
over the seeds, with the lowest and the highest of several. Where batch
normalization has several learning rates, the best of them is chosen by the
same test set, which favours it.
"""


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        title: Its heading.
        text: What is compared.
        folder: Of its logs.
        render: From that folder and that of the images to Markdown; None
            if the logs hold nothing for it.
        command: What makes the logs.
    """

    title: str
    text: str
    folder: str
    render: Callable[[Path, Path], str | None]
    command: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--outputs", type=Path, nargs="*", default=[Path("outputs")])
    add("--logs", type=Path, default=LOGS, help="default: benchmarks/logs")
    add("--docs", type=Path, default=Path("docs"), help="default: docs")
    options = parser.parse_args(arguments)
    images = options.docs / "images" / "results"
    images.mkdir(parents=True, exist_ok=True)
    for outputs in options.outputs:
        keep(outputs, options.logs, images)
    page = "\n".join(
        [HEADER, *(write(each, options.logs, images) for each in SECTIONS)]
    )
    path = options.docs / "results.md"
    path.write_text(page, "utf-8")
    print(path)


def write(section: Section, logs: Path, images: Path) -> str:
    """Returns a section as Markdown."""
    body = section.render(logs / section.folder, images)
    if not body:
        body = f"{NOT_RUN}\n\n```sh\n{section.command}\n```\n"
    text = textwrap.fill(section.text, 80)
    return f"## {section.title}\n\n{text}\n\n{body}"


def last_steps(folder: Path, images: Path) -> str | None:
    """Shows where the losses of linear_regression.py and mlp.py have ended."""
    path = folder / "test.csv"
    if not path.is_file():
        return None
    log = pd.read_csv(path)
    last = log[log["step"] == log["step"].max()]
    keys = ["objective", "network", "learning_rate"]
    rows = [
        {
            "loss": objective,
            "network": network,
            "learning rate": f"{rate:g}",
            "test loss": f"{group['loss'].mean():.4g}",
            "test accuracy": spread(group["accuracy"]),
            "seeds": len(group),
        }
        for (objective, network, rate), group in last.groupby(keys, sort=False)
    ]
    return "\n".join(
        [table(rows) + "\n", run_of(folder), *figures(folder, images)]
    )


def whole_file(name: str) -> Callable[[Path, Path], str | None]:
    """Returns how a short CSV file becomes a table, with its figures."""

    def render(folder: Path, images: Path) -> str | None:
        path = folder / name
        if not path.is_file():
            return None
        rows = pd.read_csv(path).to_dict("records")
        return "\n".join(
            [table(rows) + "\n", run_of(folder), *figures(folder, images)]
        )

    return render


def run_of(folder: Path) -> str:
    """Returns the command and the machine of the logs in a folder."""
    path = folder / RUN_FILE
    if not path.is_file():
        return "The command and the machine were not recorded.\n"
    found = json.loads(path.read_text("utf-8"))
    line = environment_line(found["environment"])
    return f"```sh\n{found['command']}\n```\n\n{line}\n"


def figures(folder: Path, images: Path) -> list[str]:
    """Returns links to the figures that came with a log."""
    prefix = f"{folder.name}-"
    return [
        f"![{path.stem.removeprefix(prefix).replace('_', ' ')}]"
        f"(images/{images.name}/{path.name})\n"
        for path in sorted(images.glob(f"{prefix}*.png"))
    ]


SECTIONS = (
    Section(
        "Table 1: ten networks on CIFAR",
        "SGD with momentum 0.9, cosine schedule, batch 128, weight decay "
        "0.001, flips and crops.",
        "train_cifar",
        training_runs("table 1"),
        "python examples/train_cifar.py --all --data-dir DIR",
    ),
    Section(
        "Table 4: batch sizes",
        "Small batches have fewer iterations and a larger epsilon.",
        "train_cifar",
        training_runs("table 4"),
        "python examples/train_cifar.py --table 4 --network resnet18 "
        "--epochs 20 --data-dir DIR",
    ),
    Section(
        "Figure 8: weight decay",
        "A weight decay of 0.005 against 0.0005.",
        "train_cifar",
        training_runs("figure 8"),
        "python examples/train_cifar.py --figure 8 --network vgg16 "
        "--epochs 20 --data-dir DIR",
    ),
    Section(
        "ImageNet",
        "90 epochs of batch 256, cosine schedule from 0.1.",
        "train_imagenet",
        training_runs("imagenet"),
        "python examples/train_imagenet.py --network imagenet_resnet18 "
        "--data-dir DIR",
    ),
    Section(
        "Cityscapes",
        "DeepLabV3 with a ResNet50 from random weights; test accuracy is "
        "that of pixels.",
        "train_cityscapes",
        training_runs("cityscapes"),
        "python examples/train_cityscapes.py --data-dir DIR",
    ),
    Section(
        "Figure 5 a, b: linear regression",
        "One linear layer on Fashion-MNIST, with squared and logistic loss.",
        "linear_regression",
        last_steps,
        "python examples/linear_regression.py --data-dir DIR",
    ),
    Section(
        "Figure 5 c, d: a multilayer perceptron",
        "Three hidden layers of 128 with sigmoid activations.",
        "mlp",
        last_steps,
        "python examples/mlp.py --data-dir DIR",
    ),
    Section(
        "Figures 2, 3, 4, 10 and 11: kernels and sparsity",
        "What deconvolution does to images, and to features.",
        "kernels_and_sparsity",
        whole_file("numbers.csv"),
        "python examples/kernels_and_sparsity.py --dataset cifar10 "
        "--data-dir DIR",
    ),
    Section(
        "Figure 7: Newton-Schulz iterations",
        "The coupled iteration against the plain one.",
        "newton_schulz",
        whole_file("errors.csv"),
        "python examples/newton_schulz.py --dataset cifar10 --data-dir DIR",
    ),
    Section(
        "Warm start",
        "A trained network with batch normalization and its deconvolved twin, "
        "trained further. The accuracies before are printed by the script.",
        "finetune",
        training_runs("finetune"),
        "python examples/finetune.py --data-dir DIR",
    ),
)


if __name__ == "__main__":
    main()

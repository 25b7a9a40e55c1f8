"""Does the preset "paper" cost less than the authors' layer?

    KERAS_BACKEND=torch python benchmarks/authors_layer.py --network resnet18

For each different convolution of a network, a training step of it, forward and
back: by the algorithm written down step by step in PyTorch, as the paper has it
(algorithm 1, sections 3.3, 4.3 and 4.5; its code is in PyTorch), and by this
package. They take turns, and a convolution with nothing around it too. Both
layers compute the same: the largest difference of their outputs is in the
table.

Images lie in memory as each layer likes best: channels first for the authors'.
"""

import argparse
import os
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import torch

import keras_deconv
from _results import read
from _results import result_path
from _results import write
from _turns import take_turns
from _turns import to_records
from keras_deconv import models
from render import report

QUESTION = 'Does the preset "paper" cost less than the authors\' layer?'
AUTHORS = "the authors' layer"
OURS = 'preset "paper"'
PLAIN = "the convolution alone"

# Shape of the inputs, of the kernel, strides and padding.
Convolution = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], str]


class AuthorsConv2D(torch.nn.Module):
    """A deconvolved convolution, by the operations that the paper names.

    Args:
        layer: A built `DeconvConv2D` of the preset "paper", whose kernel, bias
            and settings it takes over.
        padding: Zeros on each side of an image.
    """

    def __init__(self, layer: keras_deconv.DeconvConv2D, padding: int) -> None:
        super().__init__()
        kernel = torch.as_tensor(layer.kernel.numpy()).permute(3, 2, 0, 1)
        bias = torch.as_tensor(layer.bias.numpy())
        self.kernel = torch.nn.Parameter(kernel.contiguous())
        self.bias = torch.nn.Parameter(bias)
        self.padding, self.stride = padding, layer.strides
        self.steps, self.epsilon = layer.num_iterations, layer.epsilon
        _, channels, *taps = self.kernel.shape
        self.taps = tuple(taps)
        block = min(layer.block_size, channels)
        while channels % block:
            block -= 1
        self.features = block * self.taps[0] * self.taps[1]
        self.groups = channels // block
        self.sampling = layer.sampling_stride
        self.register_buffer("moving_mean", torch.zeros(self.features))
        self.register_buffer("moving_deconv", torch.eye(self.features))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps `(N, C, H, W)`; updates the moving statistics."""
        columns = self._columns(images)
        mean = columns.mean(0)
        columns = columns - mean
        identity = torch.eye(self.features)
        covariance = torch.addmm(
            identity,
            columns.t(),
            columns,
            beta=self.epsilon,
            alpha=1 / len(columns),
        )
        deconv = self._root(covariance, identity)
        with torch.no_grad():
            self.get_buffer("moving_mean").lerp_(mean, 0.1)
            self.get_buffer("moving_deconv").lerp_(deconv, 0.1)
        filters = len(self.kernel)
        dealt = self.kernel.reshape(-1, self.features, self.groups)
        dealt = dealt.transpose(1, 2).reshape(-1, self.features)
        folded = dealt @ deconv
        shift = (folded @ mean).view(filters, self.groups).sum(1)
        folded = folded.view(-1, self.groups, self.features)
        folded = folded.transpose(1, 2).reshape(self.kernel.shape)
        return torch.nn.functional.conv2d(
            images, folded, self.bias - shift, self.stride, self.padding
        )

    def _columns(self, images: torch.Tensor) -> torch.Tensor:
        stride = tuple(self.sampling * step for step in self.stride)
        patches = torch.nn.functional.unfold(
            images, self.taps, padding=self.padding, stride=stride
        )
        rows = patches.transpose(1, 2).reshape(-1, self.features, self.groups)
        return rows.transpose(1, 2).reshape(-1, self.features)

    def _root(
        self, matrix: torch.Tensor, identity: torch.Tensor
    ) -> torch.Tensor:
        norm = matrix.norm()
        y, z = matrix / norm, identity
        for _ in range(self.steps):
            t = (3 * identity - z @ y) / 2
            y, z = y @ t, t @ z
        return z / norm.sqrt()


def convolutions(network: str) -> Counter[Convolution]:
    """Returns the convolutions of a network, and how often it has each."""
    twin = keras_deconv.deconvolutionize(getattr(models, network)())
    return Counter(
        (
            tuple(layer.input.shape[1:]),
            tuple(layer.kernel.shape),
            layer.strides,
            layer.padding,
        )
        for layer in twin.layers
        if isinstance(layer, keras_deconv.DeconvConv2D)
    )


def measure(
    convolution: Convolution, batch_size: int, rounds: int
) -> dict[str, Any]:
    """Returns the record of a convolution."""
    input_shape, kernel_shape, strides, padding = convolution
    images = torch.randn(batch_size, *input_shape)
    arguments = (kernel_shape[-1], kernel_shape[:2], strides, padding)
    plain = keras.layers.Conv2D(*arguments)
    layer: Any = keras_deconv.DeconvConv2D(
        *arguments, **keras_deconv.PRESETS["paper"]
    )
    layer.build(images.shape)
    zeros = kernel_shape[0] // 2 if padding == "same" else 0
    authors = AuthorsConv2D(layer, zeros)
    first = _channels_first(images)
    ours = layer(images, training=True).detach()
    theirs = _channels_first(authors(first), back=True).detach()
    upstream = torch.randn(plain(images).shape)
    record: dict[str, Any] = {
        "input": " x ".join(map(str, input_shape)),
        "kernel": " x ".join(map(str, kernel_shape)),
        "stride": strides[0],
        "difference": float((ours - theirs).abs().max() / theirs.abs().max()),
    }

    def step(run: Any, images: torch.Tensor, upstream: torch.Tensor) -> None:
        run(images.detach().requires_grad_()).backward(upstream)

    turns = take_turns(
        {
            AUTHORS: partial(step, authors, first, _channels_first(upstream)),
            OURS: partial(
                step, partial(layer, training=True), images, upstream
            ),
            PLAIN: partial(step, plain, images, upstream),
        },
        rounds,
        AUTHORS,
    )
    for found in to_records(turns, AUTHORS):
        if found["form"] in (AUTHORS, OURS, PLAIN):
            record[f"{found['form']}, ms"] = found["ms"]
        if found["form"] == OURS:
            record["ratio"] = found[f"ratio to {AUTHORS}"]
    return record


def _channels_first(images: torch.Tensor, back: bool = False) -> torch.Tensor:
    axes = (0, 2, 3, 1) if back else (0, 3, 1, 2)
    return images.permute(axes).contiguous()


def total(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what all convolutions of a network take, one by one."""
    record: dict[str, Any] = dict.fromkeys(records[0]) | {"input": "all"}
    for form in (AUTHORS, OURS, PLAIN):
        name = f"{form}, ms"
        record[name] = sum(each["times"] * each[name] for each in records)
    record["ratio"] = record[f"{OURS}, ms"] / record[f"{AUTHORS}, ms"]
    return record


def main() -> None:
    """Measures, writes the result file and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--network", choices=("vgg11", "vgg16", "resnet18"), default="vgg11")
    add("--batch-size", type=int, default=128)
    add("--rounds", type=int, default=5)
    add("--output", type=result_path)
    options = parser.parse_args()
    if keras.backend.backend() != "torch":
        parser.error(
            "The authors' layer is one of PyTorch: KERAS_BACKEND=torch"
        )
    name = options.network
    output = options.output or Path(f"outputs/authors_layer_{name}.json")
    command = (
        f"python benchmarks/authors_layer.py --network {name} "
        f"--batch-size {options.batch_size} --rounds {options.rounds}"
    )
    records = []
    for convolution, times in convolutions(name).items():
        record = measure(convolution, options.batch_size, options.rounds)
        records.append({"times": times} | record)
    write(output, QUESTION, command, [*records, total(records)])
    print(report(read(output)))


if __name__ == "__main__":
    main()

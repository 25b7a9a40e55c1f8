"""Distributed training on PyTorch, by `DistributedDataParallel`.

    python examples/distributed_torch.py

starts a process for each GPU, or two where there is none, each of which
trains on its part of every batch. So does

    torchrun --standalone --nproc-per-node 2 examples/distributed_torch.py

on this machine, and with its other options on several.
"""

import argparse
import os
from collections.abc import Sequence

os.environ["KERAS_BACKEND"] = "torch"

from _arguments import positive
from _distributed_options import make_parser
from _workers import launch
from _workers import local_addresses
from _workers import loopback


def main(arguments: Sequence[str] | None = None) -> None:
    """Starts the processes, or is one of them."""
    parser = make_parser(__doc__, "distributed_torch.keras")
    parser.add_argument(
        "--workers",
        type=positive(int),
        help="processes (default: one a GPU, or two)",
    )
    options = parser.parse_args(arguments)
    if "RANK" in os.environ:
        work(options)
    else:
        launch(environments(options.workers or count_gpus() or 2))


def count_gpus() -> int:
    """Returns how many GPUs there are."""
    import torch

    return torch.cuda.device_count()


def environments(count: int) -> list[dict[str, str]]:
    """Returns what `torchrun` tells each of its processes."""
    host, _, port = local_addresses(1)[0].partition(":")
    common = {
        "GLOO_SOCKET_IFNAME": loopback(),
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        "WORLD_SIZE": str(count),
    }
    ranks = map(str, range(count))
    return [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in ranks]


def work(options: argparse.Namespace) -> None:
    """Trains on one part of every batch."""
    # Not on top: the process that starts the others needs none of it.
    import torch
    from torch import distributed

    from _datasets import load
    from _distributed import check_batch
    from _distributed import make_model
    from _distributed import report
    from _distributed import train

    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if has_gpu else "gloo")
    is_chief = distributed.get_rank() == 0
    check_batch(options.batch_size, distributed.get_world_size())
    data = load(options.dataset, options.data_dir)
    model = make_model(options, data)
    # The wrapper in the step must be gone before its group is: as the last
    # one to hold the group, it could wait forever for the group's threads.
    train(model, data, options, make_step(model), is_chief)
    distributed.destroy_process_group()
    if is_chief:
        report(options.checkpoint, data)


def make_step(model):
    """Returns a training step that takes its part of a whole batch."""
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    rank, count = distributed.get_rank(), distributed.get_world_size()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    variables = model.trainable_variables
    # Averages the gradients over all processes. Of the statistics, which
    # have none, it takes no care.
    parallel = DistributedDataParallel(model)

    def step(images, labels):
        images, labels = (
            torch.as_tensor(batch[rank::count]).to(device)
            for batch in (images, labels)
        )
        parallel.zero_grad()
        loss = model.loss(labels, parallel(images, training=True))
        loss.backward()
        with torch.no_grad():
            gradients = [variable.value.grad for variable in variables]
            model.optimizer.apply(gradients, variables)
        total = loss.detach()
        distributed.all_reduce(total)
        return total / count

    return step


if __name__ == "__main__":
    main()

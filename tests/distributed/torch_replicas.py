"""Two processes of PyTorch against one: `torch_replicas.py FOLDER`."""

import os
import sys

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from torch.nn.functional import cross_entropy

import keras_deconv
import tiny

REPLICAS = 2


def make_step(model, replica=None):
    """Returns a training step of a whole batch, or of a replica's share.

    The loss is PyTorch's own: that of Keras is rounded to float32.
    """
    optimizer = tiny.make_optimizer()
    optimizer.build(model.trainable_variables)
    share = slice(replica, None, 1 if replica is None else REPLICAS)
    forward = model
    if replica is not None:
        forward = torch.nn.parallel.DistributedDataParallel(model)

    def step(images, labels):
        images, labels = map(torch.tensor, (images[share], labels[share]))
        model.zero_grad()
        loss = cross_entropy(forward(images, training=True), labels)
        loss.backward()
        variables = model.trainable_variables
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in variables], variables)
        total = loss.detach().clone()
        if replica is not None:
            torch.distributed.all_reduce(total)
            total /= REPLICAS
        return total

    return step


def uneven(replica=None):
    """Returns the statistics of a batch of which the replicas have 5 and 11."""
    model = tiny.make_model()
    shares = {None: slice(None), 0: slice(5), 1: slice(5, None)}
    images, _ = tiny.batches()
    model(torch.tensor(images[0][shares[replica]]), training=True)
    return tiny.values(model.non_trainable_weights)


def masked(replica=None):
    """Returns the statistics of samples of which a mask keeps two fifths."""
    share = slice(replica, None, 1 if replica is None else REPLICAS)
    images, _ = tiny.batches()
    layer = keras_deconv.DeconvDense(3, dtype="float64", synchronized=True)
    mask = np.random.default_rng(0).random(images[0].shape[:-1]) < 0.4
    layer(
        torch.tensor(images[0][share]),
        training=True,
        mask=torch.tensor(mask[share]),
    )
    return tiny.values(layer.non_trainable_weights)


def replica(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=REPLICAS,
    )
    for case in ("synchronized", "separate"):
        model = tiny.make_model(case == "synchronized")
        found = tiny.train(model, make_step(model, rank))
        np.savez(f"{folder}/{case}_{rank}.npz", **found)
    np.savez(f"{folder}/uneven_{rank}.npz", **uneven(rank))
    np.savez(f"{folder}/masked_{rank}.npz", **masked(rank))
    torch.distributed.destroy_process_group()


def alone(folder):
    model = tiny.make_model()
    found = tiny.train(model, make_step(model))
    np.savez(f"{folder}/alone.npz", **found)
    np.savez(f"{folder}/uneven.npz", **uneven())
    np.savez(f"{folder}/masked.npz", **masked())


if __name__ == "__main__":
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    (folder,) = sys.argv[1:]
    replicas = torch.multiprocessing.start_processes(
        replica, (folder,), REPLICAS, join=False, start_method="spawn"
    )
    alone(folder)
    while not replicas.join():
        pass

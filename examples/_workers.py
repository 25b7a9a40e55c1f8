"""Processes of one training run, on this machine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from collections.abc import Sequence


def launch(environments: Sequence[Mapping[str, str]]) -> None:
    """Runs this very command once in each environment, and waits.

    If a worker fails, the others would wait for it forever: they are ended.

    Raises:
        SystemExit: A worker has failed.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    workers = [
        subprocess.Popen(command, env={**os.environ, **environment})
        for environment in environments
    ]
    for index, worker in enumerate(workers):
        print(f"worker {index}: process {worker.pid}", flush=True)
    try:
        while any(worker.poll() is None for worker in workers):
            _check(workers)
            time.sleep(0.05)
        _check(workers)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _check(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for index, worker in enumerate(workers):
        if worker.poll():
            sys.exit(
                f"worker {index} has failed, with status {worker.returncode}; "
                "--resume goes on from the last checkpoint"
            )


def local_addresses(count: int) -> list[str]:
    """Returns free addresses of this machine, out of reach of any other."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return [f"127.0.0.1:{port}" for port in ports]


def loopback() -> str:
    """Returns the name of the interface that reaches this machine alone."""
    names = [name for _, name in socket.if_nameindex()]
    return next(name for name in names if name.startswith("lo"))

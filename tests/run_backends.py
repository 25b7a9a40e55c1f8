"""Run the test suite on each Keras backend and add up the results.

Keras loads one backend per process, so each backend gets a pytest of its own:

    run_backends.py [--jobs N] [BACKEND ...] [-- PYTEST_ARGUMENT ...]

The last line is the sum, as `N passed, N failed, N skipped`. The exit status
is 1 when a backend failed or ran no test.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The slowest first, so that none is left to run alone at the end for long.
BACKENDS = ("jax", "torch", "tensorflow")


@dataclasses.dataclass(frozen=True)
class Counts:
    """How the tests of a run came out; errors count as failures."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return (
            f"{self.passed} passed, {self.failed} failed, "
            f"{self.skipped} skipped"
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """One backend's run; `output` is empty where it was streamed."""

    backend: str
    counts: Counts
    status: int
    seconds: float
    output: str

    @property
    def ok(self) -> bool:
        ran = self.counts.passed + self.counts.failed
        return self.status == 0 and self.counts.failed == 0 and ran > 0

    def __str__(self) -> str:
        word = "ok" if self.ok else f"FAILED (pytest exit {self.status})"
        return f"[{self.backend}] {word}: {self.counts}, {self.seconds:.0f} s"


def read_report(report: Path) -> Counts:
    """Counts the test cases of a JUnit report."""
    passed = failed = skipped = 0
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            failed += 1
        elif "skipped" in outcomes:
            skipped += 1
        else:
            passed += 1
    return Counts(passed, failed, skipped)


def add_up(counts: Iterable[Counts]) -> Counts:
    each = list(counts)
    return Counts(
        sum(c.passed for c in each),
        sum(c.failed for c in each),
        sum(c.skipped for c in each),
    )


def environment(backend: str, threads: int) -> dict[str, str]:
    """The environment of a run; thread counts already set are kept."""
    limit = str(threads)
    return {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": limit,
        "TF_NUM_INTRAOP_THREADS": limit,
        "TF_NUM_INTEROP_THREADS": limit,
        # The size of XLA's thread pool, which serves JAX.
        "NPROC": limit,
        # Hundreds of small functions are compiled, and each runs a few times.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        **os.environ,
        "KERAS_BACKEND": backend,
    }


def run_backend(
    backend: str, arguments: Sequence[str], threads: int, stream: bool
) -> Run:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}"]
        # What failed last on one backend says nothing about another.
        command += ["-o", f"cache_dir=.pytest_cache/{backend}", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(backend, threads),
            stdin=subprocess.DEVNULL,
            stdout=None if stream else subprocess.PIPE,
            stderr=None if stream else subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        try:
            counts = read_report(report)
        except (FileNotFoundError, xml.etree.ElementTree.ParseError):
            # pytest died or refused to start: how many tests is unknown.
            counts = Counts(failed=1)
    seconds = time.perf_counter() - start
    return Run(backend, counts, done.returncode, seconds, done.stdout or "")


def main(arguments: Sequence[str]) -> int:
    own = list(arguments)
    for_pytest: list[str] = []
    if "--" in own:
        split = own.index("--")
        own, for_pytest = own[:split], own[split + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("backends", nargs="*", metavar="BACKEND")
    options = parser.parse_args(own)
    backends = options.backends or BACKENDS
    for backend in backends:
        if backend not in BACKENDS:
            parser.error(f"{backend!r} is none of {', '.join(BACKENDS)}")

    jobs = max(1, min(options.jobs, len(backends)))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    runs = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        started = [
            pool.submit(run_backend, backend, for_pytest, threads, jobs == 1)
            for backend in backends
        ]
        for future in concurrent.futures.as_completed(started):
            run = future.result()
            if run.output:
                print(f"--- {run.backend} ---\n{run.output}", flush=True)
            runs.append(run)

    for run in sorted(runs, key=lambda run: backends.index(run.backend)):
        print(run)
    print(add_up(run.counts for run in runs), flush=True)
    return 0 if all(run.ok for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

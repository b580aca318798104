"""Damaged files against all readers: none may end in a traceback, a hang, or a crash of the process.

    python benchmarks/fuzz_readers.py --cases 2600

Each case runs in a worker process with a limit of memory and of time; a worker that hangs or dies is replaced.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import tempfile
import time
from collections import Counter, defaultdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import tifffile
from PIL import __version__ as pillow

import report
from broken_files import CRASH, ERROR, HANG, OK, SKIPPED, TRACEBACK, Bench, Outcome


def work(pipe: Connection, place: str, seed: int, memory: int) -> None:
    """Run the cases whose numbers come through the pipe."""
    logging.disable(logging.CRITICAL)
    bench = Bench(Path(tempfile.mkdtemp(dir=place)), seed)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        pipe.send(tuple(bench.run(number)))


class Worker:
    """One process and the pipe to it."""

    def __init__(self, place: str, seed: int, memory: int) -> None:
        self.pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        arguments = (theirs, place, seed, memory)
        self.process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        assert self.pipe.recv() == "ready"

    def run(self, number: int, seconds: float) -> Outcome:
        """The outcome of one case; HANG and CRASH end the process."""
        try:
            self.pipe.send(number)
            if not self.pipe.poll(seconds):
                self.process.kill()
                self.process.join()
                return Outcome(HANG, f"longer than {seconds} s")
            return Outcome(*self.pipe.recv())
        except (EOFError, OSError):
            self.process.join()
            return Outcome(CRASH, f"exit code {self.process.exitcode}")

    def end(self) -> None:
        """Let the process finish."""
        if self.process.is_alive():
            self.pipe.send(None)
            self.process.join()


def main() -> None:
    """Run the cases one after another and write the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=2600)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=30, help="limit of one case")
    parser.add_argument(
        "--memory", type=int, default=1024, help="MiB a case may take beyond the idle process"
    )
    parser.add_argument("--no-write", action="store_true", help="print, and write no result")
    values = parser.parse_args()
    began = time.monotonic()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    damages: dict[str, Counter[str]] = defaultdict(Counter)
    bad: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        names = Bench(Path(place) / "names", values.seed)
        worker = Worker(place, values.seed, values.memory * 2**20)
        for number in range(values.first, values.first + values.cases):
            outcome = worker.run(number, values.seconds)
            name, damage, _ = names.case(number)
            counts[name][outcome.kind] += 1
            damages[damage][outcome.kind] += 1
            if outcome.kind in (TRACEBACK, HANG, CRASH):
                bad.append(
                    {
                        "case": number,
                        "file": name,
                        "damage": damage,
                        "outcome": outcome.kind,
                        "text": outcome.text,
                    }
                )
                print(f"case {number}: {name}, {damage}: {outcome.kind}\n{outcome.text}", flush=True)
            if outcome.kind in (HANG, CRASH):
                worker = Worker(place, values.seed, values.memory * 2**20)
            if number % 200 == 199:
                print(
                    f"{number + 1 - values.first} of {values.cases}, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
        worker.end()
    total = sum(counts.values(), Counter())
    kinds = (OK, SKIPPED, ERROR, TRACEBACK, HANG, CRASH)
    content = {
        **report.machine(),
        "libraries": {
            "pillow": pillow,
            "pyarrow": pyarrow.__version__,
            "datasets": datasets.__version__,
            "tifffile": tifffile.__version__,
        },
        "seed": values.seed,
        "cases": values.cases,
        "limits": {"seconds": values.seconds, "memory MiB": values.memory},
        "total": {kind: total[kind] for kind in kinds},
        "by file": {name: dict(found) for name, found in sorted(counts.items())},
        "by damage": {name: dict(found) for name, found in sorted(damages.items())},
        "bad": bad,
    }
    print(content["total"])
    if not values.no_write:
        report.write("fuzz_readers", content)


if __name__ == "__main__":
    main()

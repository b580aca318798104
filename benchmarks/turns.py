"""Programs that take turns at equal steps, each in a process of its own: how long a step takes, and whether losses agree.

A benchmark brings ``make(name, options)``, a function of its module that builds the program called ``"official"`` or
``"anyjepa"``, and calls :func:`take_turns`. The ratio is the median over pairs of steps, so that what else the machine does
strikes both alike.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

NAMES = ("official", "anyjepa")


@dataclass(frozen=True)
class Program:
    """One side of a comparison."""

    step: Callable[..., float]
    """A whole training step; its loss."""
    inputs: Callable[[int], tuple[Any, ...]]
    """What step i is given; the same for both programs, and not part of the time."""
    note: Callable[..., Any] = lambda *inputs: None
    """What is to be known of the inputs of a step."""


Maker = Callable[[str, argparse.Namespace], Program]


@dataclass(frozen=True)
class Turns:
    """What was seen, by the name of the program; warm-up steps included, but for the seconds."""

    seconds: dict[str, list[float]]
    losses: dict[str, list[float]]
    profiles: dict[str, dict[str, float]]
    notes: list[Any]
    """Of the timed steps."""

    @property
    def ratios(self) -> list[float]:
        """How many times as long the official step took, pair by pair."""
        return [a / b for a, b in zip(*(self.seconds[name] for name in NAMES), strict=True)]

    def figures(self) -> dict[str, Any]:
        """As they are written down."""
        apart = [abs(a - b) for a, b in zip(*(self.losses[name] for name in NAMES), strict=True)]
        return {
            "median ratio of pairs, official / anyjepa": round(statistics.median(self.ratios), 3),
            "ratios": [round(r, 3) for r in self.ratios],
            "milliseconds": {
                name: {"median": round(statistics.median(v) * 1e3, 1), "best": round(min(v) * 1e3, 1)}
                for name, v in self.seconds.items()
            },
            "losses": {name: values[:5] for name, values in self.losses.items()},
            "largest difference of losses": {
                "first step": apart[0],
                "first 5 steps": max(apart[:5]),
                f"{len(apart)} steps": max(apart),
            },
            "profile of one step, ms": self.profiles,
        }


def add_options(parser: argparse.ArgumentParser, *, pairs: int, warmup: int = 2, threads: int = 2) -> None:
    """Options that all such benchmarks have."""
    parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--warmup", type=int, default=warmup, help="untimed pairs before")
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor time, for busy machines"
    )
    parser.add_argument("--seed", type=int, default=0)


def take_turns(make: Maker, options: argparse.Namespace) -> Turns:
    """Run the pairs of steps that were asked for, and one more of each under the profiler."""
    spawn = multiprocessing.get_context("spawn")
    pipes = {}
    for name in NAMES:
        here, there = spawn.Pipe()
        spawn.Process(target=_work, args=(there, make, options, name), daemon=True).start()
        # So that a process that dies ends the wait for it.
        there.close()
        try:
            here.recv()
        except EOFError:
            raise SystemExit(f"the process of '{name}' ended before its first step, see above") from None
        pipes[name] = here
    seen: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in NAMES}
    total = options.warmup + options.pairs
    for i in range(total):
        for name, pipe in pipes.items():
            pipe.send((i, False))
            seen[name].append(pipe.recv())
            # Threads of the last program that still spin go to sleep.
            time.sleep(0.02)
        print(f"{i + 1}/{total}", *(f"{name} {rows[-1][0]:.2f} s" for name, rows in seen.items()), flush=True)
    profiles = {}
    for name, pipe in pipes.items():
        pipe.send((total, True))
        profiles[name] = pipe.recv()
        pipe.send(None)
    return Turns(
        {name: [row[0] for row in rows[options.warmup :]] for name, rows in seen.items()},
        {name: [row[1] for row in rows] for name, rows in seen.items()},
        profiles,
        [row[2] for row in seen["anyjepa"][options.warmup :]],
    )


def profile(step: Callable[..., float], *inputs: Any) -> dict[str, float]:
    """Milliseconds that one step spends in each operator itself, the longest ones."""
    with torch.profiler.profile() as found:
        step(*inputs)
    kind = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    spent = {event.key: getattr(event, kind) / 1e3 for event in found.key_averages()}
    longest = sorted(spent, key=lambda name: -spent[name])[:12]
    shares = {name: round(spent[name], 1) for name in longest}
    return shares | {"all others": round(sum(spent.values()) - sum(shares.values()), 1)}


def _work(connection: Any, make: Maker, options: argparse.Namespace, name: str) -> None:
    """A process: one program, a step whenever it is asked for."""
    if name == "anyjepa":
        from anyjepa.training.allocator import tune_allocator

        tune_allocator()
    torch.set_num_threads(options.threads)
    program = make(name, options)
    connection.send(None)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    while (request := connection.recv()) is not None:
        i, profiled = request
        inputs = program.inputs(i)
        if profiled:
            connection.send(profile(program.step, *inputs))
            continue
        start = clock()
        loss = program.step(*inputs)
        connection.send((clock() - start, loss, program.note(*inputs)))

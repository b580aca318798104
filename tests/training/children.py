"""Trainings in processes of their own, which can be killed. They are forked from a server that has torch loaded."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from anyjepa import registry
from anyjepa.pretraining import pretrain, resume
from anyjepa.training import RunConfig, TrainConfig, train

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["children", "toy", "anyjepa.methods.ijepa", "lightning.pytorch"])
STEPS = 16


def start(target: Callable, *args) -> multiprocessing.Process:
    process = SERVER.Process(target=target, args=args)
    process.start()
    return process


def finish(target: Callable, *args) -> None:
    process = start(target, *args)
    process.join(120)
    assert process.exitcode == 0


def kill(process: multiprocessing.Process, number: int = signal.SIGKILL, group: bool = False) -> None:
    assert process.is_alive(), "it ended before it could be killed: the test shows nothing"
    (os.killpg if group else os.kill)(process.pid, number)
    process.join(60)
    assert not process.is_alive()


def wait_for(condition: Callable[[], bool], process: multiprocessing.Process) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.002)


def rows(run: Path) -> list[dict]:
    file = run / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def lines(run: Path) -> int:
    file = run / "log.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def losses(run: Path) -> list[tuple]:
    """All that must not depend on interruptions: everything but times."""
    return [
        tuple(v for k, v in row.items() if k not in ("seconds", "samples_per_second")) for row in rows(run)
    ]


def _own_group() -> None:
    os.setpgid(0, 0)
    torch.set_num_threads(1)
    # Loader workers are forked, as everywhere else: a server for them would take seconds and outlive the killed.
    multiprocessing.set_start_method("fork", force=True)


def toy_run(
    run: Path, going_on: bool, pause_at: tuple[str, int] | None = None, workers: int = 0, nap: float = 0.0
) -> None:
    """Train the toy. ``pause_at``: stop for good at the n-th call of a function of ``os``, and say so by a file."""
    from toy import Toy, ToyConfig, toy_loader

    _own_group()
    if pause_at:
        name, left = pause_at
        original = getattr(os, name)

        def pausing(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                (run / "paused").touch()
                time.sleep(1000)
            return original(*args, **kwargs)

        setattr(os, name, pausing)

    class Slow(Toy):
        def after_step(self, step: int) -> None:
            super().after_step(step)
            time.sleep(nap)

    optim = ToyConfig().optim.__class__(steps=STEPS, warmup_steps=3, lr=0.01, start_lr=0.001)
    config = TrainConfig(batch_size=8, accelerator="cpu", log_every=1, checkpoint_every=4)
    train(
        Slow(ToyConfig(dropout=0.2, optim=optim)),
        toy_loader(STEPS, workers=workers),
        config,
        run,
        resume=going_on,
    )


def ijepa_run(run: Path, going_on: bool, workers: int, nap: float = 0.0) -> None:
    """The real thing: I-JEPA on digits, small."""
    _own_group()
    cls = registry.entry("ijepa").method
    original = cls.after_step

    def after_step(self, step: int) -> None:
        original(self, step)
        time.sleep(nap)

    cls.after_step = after_step
    if going_on:
        resume(run)
        return
    model = dict(size="nano", dim=16, depth=2, heads=2, predictor_width=16, predictor_depth=1, patch_size=1)
    model |= dict(drop_path=0.1, optim=dict(steps=STEPS))
    train_config = dict(batch_size=8, workers=workers, log_every=1, checkpoint_every=4, accelerator="cpu")
    values = dict(
        method="ijepa", data="digits", out=str(run), model=model, images=dict(limit=40), train=train_config
    )
    pretrain(RunConfig.from_mapping(values))

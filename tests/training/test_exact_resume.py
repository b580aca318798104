"""kill -9 at any moment, resume, and every number of the log is that of the uninterrupted run, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from children import (
    STEPS,
    finish,
    ijepa_run,
    kill,
    lines,
    losses,
    rows,
    start,
    toy_run,
    wait_for,
)

from anyjepa.training.checkpoint import FOLDER, find_checkpoints, step_of
from anyjepa.training.tensorfile import read_tensors


@pytest.fixture(scope="module")
def toy_reference(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("toy") / "run"
    finish(toy_run, run, False)
    return run


@pytest.fixture(scope="module")
def ijepa_reference(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("ijepa") / "run"
    finish(ijepa_run, run, False, 0)
    return run


def same(run: Path, reference: Path) -> None:
    assert [row["step"] for row in rows(run)] == list(range(1, STEPS + 1))
    assert losses(run) == losses(reference)
    for name in ("model.safetensors", "optimizer.safetensors"):
        mine, other = (read_tensors(find_checkpoints(r)[0] / name) for r in (run, reference))
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[k], other[k]) for k in mine)
    seconds = [row["seconds"] for row in rows(run)]
    assert seconds == sorted(seconds)
    csv = (run / "log.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in csv[1:]] == [repr(row["loss"]) for row in rows(run)]


@pytest.mark.parametrize("workers", [0, 2])
def test_ijepa_killed_at_arbitrary_moments(tmp_path, ijepa_reference, workers):
    draw = random.Random(workers)
    run, going_on = tmp_path / "run", False
    for step in (2, 6, 13):
        process = start(ijepa_run, run, going_on, workers, 0.05)
        wait_for(lambda step=step: lines(run) >= step, process)
        time.sleep(draw.uniform(0, 0.08))
        kill(process)
        going_on = True
    finish(ijepa_run, run, True, workers)
    same(run, ijepa_reference)


# The calls of fsync at a checkpoint: log.jsonl, log.csv, model, optimizer, state, the new directory, the one around it.
@pytest.mark.parametrize("call", [("fsync", n) for n in (8, 10, 11, 12, 13, 14, 15)] + [("rename", 3)])
def test_killed_while_a_checkpoint_is_written(tmp_path, toy_reference, call):
    run = tmp_path / "run"
    process = start(toy_run, run, False, call)
    wait_for((run / "paused").exists, process)
    kill(process)
    whole = [step_of(c) for c in find_checkpoints(run)]
    assert whole in ([4], [8, 4])
    finish(toy_run, run, True)
    same(run, toy_reference)
    assert not list((run / FOLDER).glob(".*")), "leftovers of the killed write are still there"


@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_ends_with_a_checkpoint(tmp_path, toy_reference, number, group):
    # To the whole group, as Ctrl-C and batch systems send it, the signal ends the loader's workers as well.
    run = tmp_path / "run"
    process = start(toy_run, run, False, None, 2, 0.1)
    wait_for(lambda: lines(run) >= 6, process)
    time.sleep(0.05)  # into the nap, which is in the middle of an update
    kill(process, number, group)
    assert process.exitcode == 0
    step = step_of(find_checkpoints(run)[0])
    assert 6 <= step < STEPS and step not in (8, 12)
    assert lines(run) == step
    finish(toy_run, run, True)
    same(run, toy_reference)


def test_resume_of_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path, ijepa_reference):
    run = tmp_path / "run"
    process = start(ijepa_run, run, False, 0, 0.05)
    wait_for(lambda: lines(run) >= 2, process)
    kill(process)
    assert find_checkpoints(run) == []
    finish(ijepa_run, run, True, 0)
    same(run, ijepa_reference)


def test_resume_passes_over_torn_checkpoints(tmp_path, toy_reference):
    run = tmp_path / "run"
    process = start(toy_run, run, False, None, 0, 0.03)
    wait_for(lambda: len(find_checkpoints(run)) == 2, process)
    kill(process)
    newest = find_checkpoints(run)[0] / "optimizer.safetensors"
    os.truncate(newest, newest.stat().st_size - 7)
    finish(toy_run, run, True)
    same(run, toy_reference)

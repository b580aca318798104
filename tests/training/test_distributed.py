"""Several processes compute what one computes. All on the CPU, over gloo."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import launch
import pytest
import torch
from children import finish, losses, rows, start
from toy import Toy, ToyConfig, toy_loader

from anyjepa.pretraining import pretrain
from anyjepa.schedules import OptimConfig
from anyjepa.training import RunConfig, TrainConfig, train
from anyjepa.training.checkpoint import find_checkpoints
from anyjepa.training.optimizer import build_optimizer, set_schedules
from anyjepa.training.sharding import shard
from anyjepa.training.state import gather_model, gather_optimizer, restore_model, restore_optimizer
from anyjepa.training.tensorfile import read_tensors, write_tensors

STEPS = 8
WIDTH = 7  # does not divide by two processes
CLIP = 0.5


def wanted(run: Path, strategy: str, accumulate: int = 1, going_on: bool = False) -> dict:
    settings = dict(run=str(run), strategy=strategy, devices=2, accumulate=accumulate, resume=going_on)
    return settings | dict(steps=STEPS, width=WIDTH, clip=CLIP)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def in_two_processes(target: Callable, *args) -> None:
    """As a launcher does: both processes exist from the start and learn their rank from the environment."""
    port = free_port()
    processes = [start(ranked, rank, port, target, *args) for rank in range(2)]
    for process in processes:
        process.join(100)
        assert process.exitcode == 0


def ranked(rank: int, port: int, target: Callable, *args) -> None:
    torch.set_num_threads(1)
    address = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2")
    os.environ |= address | dict(RANK=str(rank), LOCAL_RANK=str(rank))
    target(*args)


def toy() -> Toy:
    optim = OptimConfig(steps=STEPS, warmup_steps=3, lr=0.01, start_lr=0.001, clip=CLIP)
    return Toy(ToyConfig(width=WIDTH, optim=optim))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    config = TrainConfig(batch_size=8, accelerator="cpu", log_every=1, checkpoint_every=4, keep_checkpoints=9)
    train(toy(), toy_loader(STEPS), config, run)
    return run


def close(run: Path, alone: Path) -> None:
    assert [r["step"] for r in rows(run)] == list(range(1, STEPS + 1))
    for mine, other in zip(rows(run), rows(alone), strict=True):
        for name in ("loss", "difference", "spread", "lr", "weight_decay"):
            assert mine[name] == pytest.approx(other[name], rel=1e-6), (mine["step"], name)
    for file in ("model.safetensors", "optimizer.safetensors"):
        mine, other = (read_tensors(find_checkpoints(r)[0] / file) for r in (run, alone))
        assert mine.keys() == other.keys()
        for name in mine:
            torch.testing.assert_close(mine[name], other[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_equal_one_and_resume_exactly(tmp_path, alone, strategy):
    run, again = tmp_path / "run", tmp_path / "again"
    in_two_processes(launch.main, wanted(run, strategy))
    close(run, alone)
    shutil.copytree(run, again)
    shutil.rmtree(again / "checkpoints/step-00000008")
    in_two_processes(launch.main, wanted(again, strategy, going_on=True))
    assert losses(again) == losses(run)
    ends = [read_tensors(find_checkpoints(r)[0] / "model.safetensors") for r in (run, again)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_two_processes_with_accumulation_go_on_with_the_checkpoint_of_one(tmp_path, alone):
    # Started as users start it: one command, of which Lightning starts copies.
    run = tmp_path / "run"
    shutil.copytree(alone, run)
    shutil.rmtree(run / "checkpoints/step-00000008")
    environment = {k: v for k, v in os.environ.items() if not k.endswith(("RANK", "WORLD_SIZE"))}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, launch.__file__, json.dumps(wanted(run, "ddp", accumulate=2, going_on=True))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    close(run, alone)


ENCODER = dict(size="nano", dim=16, depth=2, heads=2, patch_size=1)
METHODS = {
    # Masks, two encoders and a predictor with shared projections.
    "ijepa": ENCODER | dict(predictor_width=16, predictor_depth=2),
    # Views, and a penalty over the samples of all processes. Batch norm has the statistics of one process.
    "lejepa": ENCODER | dict(hidden=16, projection=8, visible=0.5, local_views=1, projector_norm="layer"),
}


def digits_run(run: Path, strategy: str, devices: int, method: str, fields: dict) -> None:
    """A method on some digits."""
    values = dict(
        method=method,
        data="digits",
        out=str(run),
        images=dict(limit=40),
        model=METHODS[method] | dict(optim=dict(steps=STEPS)) | fields,
    )
    config = dict(batch_size=8, workers=0, log_every=1, accelerator="cpu", strategy=strategy, devices=devices)
    pretrain(RunConfig.from_mapping(values | dict(train=config)))


ONLINE = dict(target="online", regularizer=dict(kind="sigreg", on="target", level="both", slices=16))


@pytest.mark.parametrize(
    "method, fields", [("ijepa", {}), ("ijepa", ONLINE), ("lejepa", {})], ids=["ijepa", "online", "lejepa"]
)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_methods_in_two_processes_equal_one(tmp_path, strategy, method, fields):
    finish(digits_run, tmp_path / "one", "auto", 1, method, fields)
    in_two_processes(digits_run, tmp_path / "two", strategy, 2, method, fields)
    for mine, other in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
    ends = [read_tensors(find_checkpoints(tmp_path / n)[0] / "model.safetensors") for n in ("two", "one")]
    assert ends[0].keys() == ends[1].keys()
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-3, atol=1e-4, msg=name)


def raw_loop(folder: Path) -> None:
    """FSDP2 without Lightning: three steps sharded, state to a file, then three more in fresh shards."""
    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo")
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
    for start_step in (0, 3):
        method = shard(toy(), mesh)
        optimizer = build_optimizer(method)
        if start_step:
            restore_model(method, read_tensors(folder / "model"))
            restore_optimizer(method, optimizer, read_tensors(folder / "optimizer"))
        for batch in toy_loader(start_step + 3)(start_step, rank, 2):
            set_schedules(optimizer, method.optim, batch.step + 1)
            optimizer.zero_grad()
            method(batch).loss.backward()
            optimizer.step()
            method.after_step(batch.step)
        model = gather_model(method, keep=rank == 0)
        state = gather_optimizer(method, optimizer, keep=rank == 0)
        if rank == 0:
            write_tensors(folder / "model", model)
            write_tensors(folder / "optimizer", state)
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_shards_in_a_plain_loop(tmp_path):
    in_two_processes(raw_loop, tmp_path)
    method = toy()
    optimizer = build_optimizer(method)
    for batch in toy_loader(6)(0, 0, 1):
        set_schedules(optimizer, method.optim, batch.step + 1)
        optimizer.zero_grad()
        method(batch).loss.backward()
        optimizer.step()
        method.after_step(batch.step)
    saved = read_tensors(tmp_path / "model")
    for name, tensor in method.state_dict().items():
        torch.testing.assert_close(saved[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    assert not torch.equal(saved["target.inlet.weight"], toy().target.inlet.weight), "the target never moved"

"""Checkpoints exist whole or not at all, say when they are damaged, and hold nothing but tensors and JSON."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from toy import TOY, Toy, ToyConfig, toy_loader

from anyjepa import registry
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.training import TrainConfig, checkpoint, load_method, train
from anyjepa.training.state import restore_model, restore_optimizer
from anyjepa.training.tensorfile import read_tensors, stamp, write_tensors

CONFIG = TrainConfig(batch_size=8, accelerator="cpu", log_every=1, checkpoint_every=4, keep_checkpoints=3)


@pytest.fixture(autouse=True)
def _toy_is_registered(monkeypatch):
    monkeypatch.setitem(registry._ENTRIES, "toy", TOY)


@pytest.fixture
def run(tmp_path) -> Path:
    train(Toy(), toy_loader(12), CONFIG, tmp_path / "run")
    return tmp_path / "run"


def steps(run: Path) -> list[int]:
    return [checkpoint.step_of(c) for c in checkpoint.find_checkpoints(run)]


def small(step: int = 1) -> tuple:
    state = checkpoint.State(step, 1.5, {"method": "toy", "model": {"width": 8}})
    return state, {"a": torch.arange(6.0).view(2, 3)}, {"exp_avg/a": torch.ones(2, 3)}


dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
shapes = st.lists(st.integers(0, 4), max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda s: s != "__metadata__"),
        st.tuples(dtypes, shapes),
        max_size=5,
    )
)
def test_tensor_files_are_read_back_by_the_safetensors_package(tmp_path_factory, wanted):
    tensors = {name: torch.rand(shape).mul(9).to(dtype) for name, (dtype, shape) in wanted.items()}
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    stamped = write_tensors(path, tensors)
    assert stamped == stamp(path) and stamped.size == path.stat().st_size
    for read in (load_file(path), read_tensors(path)):
        assert read.keys() == tensors.keys()
        assert all(read[n].dtype == t.dtype and torch.equal(read[n], t) for n, t in tensors.items())


def test_transposed_tensors_keep_their_values(tmp_path):
    tensor = torch.arange(6.0).view(2, 3).T
    write_tensors(tmp_path / "x", {"t": tensor})
    assert torch.equal(read_tensors(tmp_path / "x")["t"], tensor)


def test_a_checkpoint_holds_both_encoders_and_the_head(run):
    names = read_tensors(run / "checkpoints/step-00000012/model.safetensors").keys()
    assert {n.split(".")[0] for n in names} == {"online", "target", "head"}
    optimizer = read_tensors(run / "checkpoints/step-00000012/optimizer.safetensors")
    assert optimizer["step/head.weight"] == 12
    assert not any("/target." in name for name in optimizer)


def test_nothing_is_pickled(run):
    for file in (run / "checkpoints").rglob("*"):
        if file.is_file():
            with pytest.raises(Exception):  # noqa: B017
                pickle.loads(file.read_bytes())


def test_rotation_keeps_the_newest(tmp_path):
    train(
        Toy(),
        toy_loader(12),
        TrainConfig(batch_size=8, accelerator="cpu", checkpoint_every=3, keep_checkpoints=2),
        tmp_path / "r",
    )
    assert steps(tmp_path / "r") == [12, 9]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["truncate", "flip", "delete"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run, file, how, caplog):
    victim = run / "checkpoints/step-00000012" / file
    content = bytearray(victim.read_bytes())
    if how == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    elif how == "flip":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    else:
        victim.unlink()
    with pytest.raises(CheckpointError, match=file):
        checkpoint.verify(victim.parent)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.step_of(checkpoint.latest(run)) == 8
    assert "step-00000012" in caplog.text
    with pytest.raises(CheckpointError):
        load_method(victim.parent) if file != "state.json" or how == "flip" else checkpoint.verify(
            victim.parent
        )


def test_without_a_whole_checkpoint_there_is_none(run):
    for victim in (run / "checkpoints").rglob("model.safetensors"):
        victim.write_bytes(b"")
    assert checkpoint.latest(run) is None
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        load_method(run)


def test_a_newer_format_says_update(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    path = checkpoint.save(tmp_path, *small())
    monkeypatch.setattr(checkpoint, "FORMAT", 1)
    with pytest.raises(CheckpointError, match="update anyjepa"):
        checkpoint.verify(path)


def test_saving_the_same_step_again_replaces_it(tmp_path):
    checkpoint.save(tmp_path, *small())
    state, model, optimizer = small()
    path = checkpoint.save(tmp_path, state, {"a": model["a"] + 1}, optimizer)
    checkpoint.verify(path)
    assert torch.equal(read_tensors(path / "model.safetensors")["a"], model["a"] + 1)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_full_disk_keeps_the_older_checkpoint_and_the_training(tmp_path, monkeypatch, caplog):
    original, calls = checkpoint.write_tensors, []

    def write(path, tensors):
        calls.append(path)
        if (
            2 < len(calls) <= 4
        ):  # the second checkpoint, in the middle of its first file and, later, its second
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC if len(calls) == 3 else errno.EDQUOT, "full")
        return original(path, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", write)
    with caplog.at_level(logging.ERROR):
        result = train(
            Toy(),
            toy_loader(12),
            TrainConfig(batch_size=8, accelerator="cpu", checkpoint_every=2),
            tmp_path / "r",
        )
    assert "disk is full" in caplog.text and "step 2" in caplog.text and "training goes on" in caplog.text
    assert result.finished and steps(tmp_path / "r") == [12, 10]
    assert not list((tmp_path / "r/checkpoints").glob(".*"))


def test_a_full_disk_at_the_very_end_is_an_error_that_keeps_what_there_is(tmp_path, monkeypatch):
    original = checkpoint.write_bytes

    def write(path, *parts):
        if "00000012" in str(path):
            raise OSError(errno.ENOSPC, "full")
        return original(path, *parts)

    monkeypatch.setattr(checkpoint, "write_bytes", write)
    with pytest.raises(CheckpointError, match="free some space"):
        train(Toy(), toy_loader(12), CONFIG, tmp_path / "r")
    assert steps(tmp_path / "r") == [8, 4]
    monkeypatch.undo()
    monkeypatch.setitem(registry._ENTRIES, "toy", TOY)
    assert train(Toy(), toy_loader(12), CONFIG, tmp_path / "r", resume=True).finished


def test_other_write_errors_are_not_hidden(tmp_path, monkeypatch):
    def write(path, tensors):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(checkpoint, "write_tensors", write)
    with pytest.raises(PermissionError):
        train(Toy(), toy_loader(12), CONFIG, tmp_path / "r")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_really_full_disk(tmp_path, caplog):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        config = TrainConfig(
            batch_size=8, accelerator="cpu", log_every=1, checkpoint_every=2, keep_checkpoints=9
        )
        with caplog.at_level(logging.WARNING), pytest.raises(CheckpointError, match="disk is full"):
            train(Toy(ToyConfig(width=32)), toy_loader(12), config, disk / "run")
        kept = checkpoint.find_checkpoints(disk / "run")
        assert kept and checkpoint.latest(disk / "run") == kept[0]
        assert "training goes on" in caplog.text
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_load_method_from_run_checkpoint_and_plain_directory(run, tmp_path):
    x = torch.rand(2, 3, 4, 4)
    wanted = load_method(run).encode(x).pooled
    assert not load_method(run).training
    assert torch.equal(load_method(run / "checkpoints/step-00000012").encode(x).pooled, wanted)
    assert not torch.equal(load_method(run / "checkpoints/step-00000008").encode(x).pooled, wanted)
    plain = tmp_path / "plain"
    plain.mkdir()
    (run / "checkpoints/step-00000012/model.safetensors").rename(plain / "model.safetensors")
    (plain / "config.yaml").write_text("method: toy\nmodel: {width: 8}\n")
    assert torch.equal(load_method(plain).encode(x).pooled, wanted)
    (plain / "config.yaml").write_text("method: toy\nmodel: {width: 16}\n")
    with pytest.raises(CheckpointError, match=r"\(8,\) in the weights, \(16,\) in the model"):
        load_method(plain)
    (plain / "config.yaml").write_text("model: {width: 16}\n")
    with pytest.raises(CheckpointError, match="method"):
        load_method(plain)
    (plain / "model.safetensors").write_bytes(b"no tensors")
    (plain / "config.yaml").write_text("method: toy\nmodel: {width: 8}\n")
    with pytest.raises(CheckpointError, match="readable safetensors"):
        load_method(plain)


def test_load_method_says_what_it_needs(tmp_path):
    with pytest.raises(CheckpointError, match="expected a run directory"):
        load_method(tmp_path)


def test_missing_and_left_over_tensors_are_named():
    saved = dict(Toy().state_dict())
    extra = saved | {"more": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="'more'"):
        restore_model(Toy(), extra)
    del saved["head.bias"]
    with pytest.raises(CheckpointError, match=r"lack 'head\.bias'"):
        restore_model(Toy(), saved)
    toy = Toy()
    with pytest.raises(CheckpointError, match="does not train"):
        restore_optimizer(
            toy, torch.optim.AdamW(toy.head.parameters()), {"exp_avg/online.inlet.bias": torch.zeros(8)}
        )


def test_optimizer_state_does_not_depend_on_the_order_of_parameters(run):
    saved = read_tensors(run / "checkpoints/step-00000012/optimizer.safetensors")
    toy = Toy()
    parameters = [p for p in reversed(list(toy.parameters())) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters)
    restore_optimizer(toy, optimizer, saved)
    for name, parameter in toy.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(optimizer.state[parameter]["exp_avg"], saved[f"exp_avg/{name}"])


def test_a_directory_that_holds_a_run_is_refused_unless_told_to_overwrite(run):
    mine = run / "notes.txt"
    mine.write_text("keep")
    with pytest.raises(ConfigError, match="already holds a run"):
        train(Toy(), toy_loader(12), CONFIG, run)
    assert steps(run) == [12, 8, 4]
    config = TrainConfig(batch_size=8, accelerator="cpu", checkpoint_every=100)
    train(Toy(), toy_loader(12), config, run, overwrite=True)
    assert steps(run) == [12] and mine.read_text() == "keep"
    (run.parent / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        train(Toy(), toy_loader(12), CONFIG, run.parent / "file")


def test_state_json_is_plain_and_complete(run):
    content = json.loads((run / "checkpoints/step-00000008/state.json").read_text())
    assert (
        content["step"] == 8
        and content["config"]["method"] == "toy"
        and content["config"]["model"]["width"] == 8
    )
    assert set(content["files"]) == {"model.safetensors", "optimizer.safetensors"}

"""What happens in a step: schedules, accumulation, clipping, moving averages, and a loss that is not finite."""

from __future__ import annotations

import dataclasses
import json
import sys
import types

import pytest
import torch
from children import losses, rows
from toy import Toy, ToyConfig, toy_loader

from anyjepa.errors import AnyjepaError, ConfigError, MissingExtraError
from anyjepa.monitoring.examine import examine
from anyjepa.schedules import OptimConfig, learning_rate, weight_decay
from anyjepa.training import TrainConfig, train
from anyjepa.training.checkpoint import find_checkpoints, latest, step_of
from anyjepa.training.module import TrainingModule
from anyjepa.training.optimizer import build_optimizer, set_schedules
from anyjepa.training.tensorfile import read_tensors

CONFIG = TrainConfig(batch_size=8, accelerator="cpu", log_every=1, checkpoint_every=4)


def test_a_run_equals_the_loop_of_the_contract(tmp_path):
    toy = Toy()
    train(toy, toy_loader(12), CONFIG, tmp_path / "run")
    plain = Toy()
    optimizer = build_optimizer(plain)
    seen = []
    for batch in toy_loader(12)(0, 0, 1):
        set_schedules(optimizer, plain.optim, batch.step + 1)
        optimizer.zero_grad()
        output = plain(batch)
        output.loss.backward()
        optimizer.step()
        plain.after_step(batch.step)
        seen.append(output.loss.item())
    assert [row["loss"] for row in rows(tmp_path / "run")] == seen
    assert all(
        torch.equal(a, b) for a, b in zip(toy.state_dict().values(), plain.state_dict().values(), strict=True)
    )


def test_the_optimizer_sees_the_schedules(tmp_path, monkeypatch):
    seen = []

    def spy(optimizer, optim, step):
        set_schedules(optimizer, optim, step)
        seen.append([(g["lr"], g["weight_decay"], g["decay"]) for g in optimizer.param_groups])

    monkeypatch.setattr("anyjepa.training.module.set_schedules", spy)
    toy = Toy()
    train(toy, toy_loader(12), CONFIG, tmp_path / "run")
    assert len(seen) == 12
    for k, groups in enumerate(seen, start=1):
        rate, decay = learning_rate(toy.optim, k), weight_decay(toy.optim, k)
        assert groups == [(rate, decay, True), (rate, 0.0, False)]
        assert (rows(tmp_path / "run")[k - 1]["lr"], rows(tmp_path / "run")[k - 1]["weight_decay"]) == (
            rate,
            decay,
        )


def test_biases_and_norms_do_not_decay():
    toy = Toy()
    plain = {id(p) for g in build_optimizer(toy).param_groups if not g["decay"] for p in g["params"]}
    names = {name for name, p in toy.named_parameters() if id(p) in plain}
    assert "head.bias" in names and "online.blocks.0.norm.weight" in names and "head.weight" not in names
    assert not any(name.startswith("target") for name in names)


def test_adamw_has_the_constants_of_the_config():
    toy = Toy(ToyConfig(optim=OptimConfig(betas=(0.8, 0.95), eps=1e-5)))
    optimizer = build_optimizer(toy)
    assert optimizer.defaults["betas"] == (0.8, 0.95) and optimizer.defaults["eps"] == 1e-5
    assert optimizer.defaults["fused"]


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_computes_the_same_step(tmp_path, accumulate):
    train(Toy(), toy_loader(12), CONFIG, tmp_path / "one")
    config = dataclasses.replace(CONFIG, accumulate=accumulate)
    train(Toy(), toy_loader(12, accumulate=accumulate), config, tmp_path / "many")
    for one, many in zip(rows(tmp_path / "one"), rows(tmp_path / "many"), strict=True):
        assert many["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert many["difference"] == pytest.approx(one["difference"], rel=1e-4)
    ends = [read_tensors(find_checkpoints(tmp_path / n)[0] / "model.safetensors") for n in ("one", "many")]
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-3, atol=1e-5)


def test_dropout_is_a_function_of_the_step(tmp_path):
    for name, noise in (("a", 1), ("b", 2)):
        torch.manual_seed(noise)
        train(Toy(ToyConfig(dropout=0.5)), toy_loader(12), CONFIG, tmp_path / name)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    train(Toy(ToyConfig(dropout=0.5)), toy_loader(12), dataclasses.replace(CONFIG, seed=1), tmp_path / "c")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_clipping_bounds_the_gradient(tmp_path, monkeypatch):
    norms = []

    def measure(self, optimizer, **kwargs):
        original(self, optimizer, **kwargs)
        grads = [p.grad.norm() for g in optimizer.param_groups for p in g["params"]]
        norms.append(torch.stack(grads).norm().item())

    original = TrainingModule.configure_gradient_clipping
    monkeypatch.setattr(TrainingModule, "configure_gradient_clipping", measure)
    train(Toy(), toy_loader(12), CONFIG, tmp_path / "free")
    assert max(norms) > 0.1
    norms.clear()
    optim = dataclasses.replace(ToyConfig().optim, clip=0.01)
    train(Toy(ToyConfig(optim=optim)), toy_loader(12), CONFIG, tmp_path / "clipped")
    assert len(norms) == 12 and max(norms) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_ends_cleanly(tmp_path, log_every):
    run = tmp_path / "run"
    config = dataclasses.replace(CONFIG, log_every=log_every)
    with pytest.raises(
        AnyjepaError, match=r"became inf at step 7; the last checkpoint is of step 4.*optim\.lr"
    ):
        train(Toy(ToyConfig(explode_at=6)), toy_loader(12), config, run)
    assert step_of(latest(run)) == 4
    assert rows(run)[-1]["step"] == 7 and rows(run)[-1]["loss"] is None
    assert examine(run).verdict == "diverged"
    # With the cause gone, the run goes on from there.
    assert train(Toy(), toy_loader(12), config, run, resume=True).finished


def test_a_loader_that_ends_early_is_an_error(tmp_path):
    with pytest.raises(AnyjepaError, match="after step 5 of 12"):
        train(Toy(), toy_loader(5), CONFIG, tmp_path / "run")


def test_log_lines_and_checkpoints_come_when_they_are_due(tmp_path):
    config = dataclasses.replace(CONFIG, log_every=5, checkpoint_every=5)
    result = train(Toy(), toy_loader(12), config, tmp_path / "run")
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 5, 10, 12]
    assert (result.step, result.steps, result.finished) == (12, 12, True)
    assert result.checkpoint == tmp_path / "run/checkpoints/step-00000012"


def test_bf16_and_compile_train(tmp_path):
    config = dataclasses.replace(CONFIG, precision="bf16-mixed")
    train(Toy(), toy_loader(12), config, tmp_path / "half")
    train(Toy(), toy_loader(12), CONFIG, tmp_path / "full")
    half, full = rows(tmp_path / "half"), rows(tmp_path / "full")
    assert (
        half[-1]["loss"] == pytest.approx(full[-1]["loss"], rel=0.05) and half[0]["loss"] != full[0]["loss"]
    )
    weights = read_tensors(find_checkpoints(tmp_path / "half")[0] / "model.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.float32}


def test_compile_takes_the_units_of_the_method(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    toy = Toy()
    train(toy, toy_loader(12), dataclasses.replace(CONFIG, compile=True), tmp_path / "run")
    assert compiled == list(toy.compile_units())
    assert not any(
        "_orig_mod" in n for n in read_tensors(tmp_path / "run/checkpoints/step-00000012/model.safetensors")
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (dict(batch_size=0), "batch_size must be at least 1"),
        (dict(batch_size=10, accumulate=4), "use a batch size of 12"),
        (dict(workers=-1), "workers"),
        (dict(devices=0), "devices"),
        (dict(loggers=("tensorbord",)), "did you mean 'tensorboard'"),
    ],
)
def test_impossible_settings_are_refused(fields, text):
    with pytest.raises(ConfigError, match=text):
        TrainConfig(**fields)


def test_devices_that_are_not_there_are_refused(tmp_path):
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU"):
            train(Toy(), toy_loader(12), dataclasses.replace(CONFIG, accelerator="gpu"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"batch_size=8 cannot be shared equally by 3 processes.*use 9"):
        train(Toy(), toy_loader(12), dataclasses.replace(CONFIG, devices=3), tmp_path / "other")


def test_tensorboard_gets_every_line(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = dataclasses.replace(CONFIG, loggers=("tensorboard",))
    train(Toy(), toy_loader(12), config, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert [e.step for e in events.Scalars("loss")] == list(range(1, 13))
    assert events.Scalars("loss")[3].value == pytest.approx(rows(tmp_path / "run")[3]["loss"])


def test_wandb_gets_every_line_under_the_id_of_the_run(tmp_path, monkeypatch):
    got = []
    fake = types.SimpleNamespace(
        log=lambda row, step: got.append((step, row["loss"])), finish=lambda: got.append("end")
    )
    started = {}
    monkeypatch.setitem(
        sys.modules, "wandb", types.SimpleNamespace(init=lambda **k: started.update(k) or fake)
    )
    train(Toy(), toy_loader(12), dataclasses.replace(CONFIG, loggers=("wandb",)), tmp_path / "run")
    assert got == [*((row["step"], row["loss"]) for row in rows(tmp_path / "run")), "end"]
    assert started["id"] == json.loads((tmp_path / "run/run.json").read_text())["id"]


def test_a_missing_logger_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"anyjepa\[wandb\]"):
        train(Toy(), toy_loader(12), dataclasses.replace(CONFIG, loggers=("wandb",)), tmp_path / "run")

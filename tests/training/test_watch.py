"""What a collapse does to a running training: a warning, an early end with a checkpoint, or a remedy that a resume keeps."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from children import rows
from toy import toy_loader

import anyjepa
from anyjepa.contract import Batch
from anyjepa.errors import AnyjepaError
from anyjepa.monitoring.doctor import COLLAPSED
from anyjepa.monitoring.examine import examine
from anyjepa.randomness import uniform
from anyjepa.training import TrainConfig, load_method, train
from anyjepa.training.checkpoint import find_checkpoints, latest
from anyjepa.training.run_dir import read_info
from anyjepa.training.tensorfile import read_tensors
from anyjepa.training.watch import Watch

STEPS = 200
CONFIG = TrainConfig(batch_size=32, accelerator="cpu", log_every=5, checkpoint_every=30, keep_checkpoints=9)


def collapsing(**fields) -> anyjepa.Method:
    """No stop-gradient and no regularizer: it collapses within 50 steps."""
    small = dict(
        size="nano", dim=16, depth=1, heads=2, predictor_width=16, predictor_depth=1, predictor_heads=2
    )
    optim = dict(steps=STEPS, warmup_steps=5, lr=5e-3, start_lr=1e-3)
    shape = dict(image_size=(16, 16), channels=1, patch_size=4, masker="random")
    return anyjepa.create("ijepa", **small, **shape, target="online", optim=optim, **fields)


def loader(start: int, rank: int, world: int):
    index = torch.arange(32)
    for step in range(start, STEPS):
        pixels = uniform(0, "pixels", step, index.numpy(), 256).reshape(32, 1, 16, 16) - 0.5
        yield Batch(
            torch.tensor(pixels, dtype=torch.float32) + torch.linspace(-1, 1, 32).view(-1, 1, 1, 1),
            index,
            step,
        )


def configured(**fields) -> TrainConfig:
    return dataclasses.replace(CONFIG, **fields)


def test_warn_tells_once_and_trains_on(tmp_path, capsys):
    result = train(collapsing(), loader, CONFIG, tmp_path / "run")
    assert result.finished and result.diagnosis.verdict in COLLAPSED
    told = capsys.readouterr()
    assert told.err.count("doctor: COMPLETE COLLAPSE") == 1
    assert "model.regularizer.kind=vicreg" in told.err and "doctor: COMPLETE COLLAPSE" in told.out


def test_stop_ends_with_a_checkpoint(tmp_path, capsys):
    result = train(collapsing(), loader, configured(on_collapse="stop"), tmp_path / "run")
    assert not result.finished and 50 <= result.step < STEPS
    assert latest(tmp_path / "run") == result.checkpoint and result.checkpoint.name.endswith(
        f"{result.step:08d}"
    )
    assert "anyjepa resume" in capsys.readouterr().out


def test_regularize_switches_on_what_a_resume_keeps(tmp_path):
    run, again = tmp_path / "run", tmp_path / "again"
    config = configured(on_collapse="regularize")
    whole = train(collapsing(), loader, config, run)
    assert whole.finished and load_method(run).config.regularizer.kind == "vicreg"
    collapsed = next(row["step"] for row in rows(run) if row["target_cosine"] > 0.98)
    assert rows(run)[-1]["target_cosine"] < 0.9 and "regularizer" in rows(run)[-1]
    remedy = read_info(run)["remedy"]
    assert collapsed <= remedy["step"] < 75 and remedy["model"]["regularizer"]["kind"] == "vicreg"

    # Interrupted after the remedy, and before it: the same weights in the end.
    for stop in (75, 40):
        assert collapsed < 75

        def until(start, rank, world, stop=stop):
            return (batch for batch in loader(start, rank, world) if batch.step < stop)

        with pytest.raises(AnyjepaError, match="loader ended"):
            train(collapsing(), until, config, again, overwrite=True)
        assert train(collapsing(), loader, config, again, resume=True).finished
        first, second = (read_tensors(find_checkpoints(r)[0] / "model.safetensors") for r in (run, again))
        assert all(torch.equal(first[name], second[name]) for name in first)
        plain = [{k: v for k, v in row.items() if "second" not in k} for row in rows(run)]
        assert plain == [{k: v for k, v in row.items() if "second" not in k} for row in rows(again)]


def test_a_method_without_a_remedy_says_so(tmp_path, capsys):
    method = collapsing(regularizer={"kind": "variance", "weight": 0.0})
    assert train(method, loader, configured(on_collapse="regularize"), tmp_path / "run").finished
    assert capsys.readouterr().err.count("no remedy left") == 1


def test_the_log_holds_statistics_at_every_line(tmp_path):
    train(collapsing(), loader, CONFIG, tmp_path / "run")
    for row in rows(tmp_path / "run"):
        for name in (
            "target_rank",
            "context_pooled_rank",
            "prediction_match",
            "gradient_norm",
            "target_cosine",
        ):
            assert row[name] is not None, name
    header = (tmp_path / "run/log.csv").read_text().splitlines()[0].split(",")
    assert {"step", "loss", "target_rank", "gradient_norm"} <= set(header)


def test_statistics_do_not_touch_the_training(tmp_path):
    often, rarely = tmp_path / "often", tmp_path / "rarely"
    train(collapsing(), loader, configured(log_every=1), often)
    train(collapsing(), loader, configured(log_every=60), rarely)
    first, second = (read_tensors(find_checkpoints(r)[0] / "model.safetensors") for r in (often, rarely))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_method_with_nothing_to_see_is_left_alone(tmp_path, capsys):
    from toy import Toy

    assert train(Toy(), toy_loader(12), configured(batch_size=8), tmp_path / "run").finished
    assert "doctor: TOO EARLY TO SAY" in capsys.readouterr().out


def test_replay_is_silent(capsys):
    def line(step: int, std: float, cosine: float) -> dict:
        numbers = {"std": std, "cosine": cosine, "content": 0.5}
        return {"step": step, "loss": 0.1} | {
            f"{who}_{k}": v for who in ("target", "context") for k, v in numbers.items()
        }

    sick = [line(1, 0.8, 0.4), *(line(10 * n, 1e-5, 1.0) for n in range(1, 9))]
    assert Watch(collapsing(), {}, "regularize").replay(sick)
    assert not Watch(collapsing(), {}, "regularize").replay(sick[:3])
    assert not Watch(collapsing(), {}, "warn").replay(sick)
    assert capsys.readouterr().err == ""


def test_a_stopped_run_goes_on_when_it_is_resumed(tmp_path):
    run, config = tmp_path / "run", configured(on_collapse="stop")
    assert not train(collapsing(), loader, config, run).finished
    assert train(collapsing(), loader, config, run, resume=True).finished


def test_values_that_are_not_finite_end_the_training_in_words(tmp_path):
    method = collapsing()
    with torch.no_grad():
        method.context_encoder.norm.weight.fill_(float("nan"))
    with pytest.raises(AnyjepaError, match=r"diverged: the loss became nan at step 1.*model\.optim\.lr"):
        train(method, loader, configured(log_every=1), tmp_path / "run")
    assert examine(tmp_path / "run").verdict == "diverged"

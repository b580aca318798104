"""Probes of what comes: errors that are known, no look into the future, whole episodes held out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import anyjepa
from anyjepa.cli import main
from anyjepa.data.episodes_config import EpisodesConfig
from anyjepa.data.modalities import modality
from anyjepa.errors import DataError
from anyjepa.evaluation.future import FutureConfig, Moments, fit_future, moments, score, split_episodes

QUICK = FutureConfig(steps=120, batch_size=64, depth=2, heads=2, ratio=2, dropout=0.0, lr=3e-3)


def walks(folder, episodes=8, length=40, seed=0):
    """A point that moves with a velocity that is part of its state and seldom changes."""
    draws = np.random.default_rng(seed)
    arrays = {}
    for e in range(episodes):
        velocity = np.repeat(draws.normal(size=(length // 20, 2)), 20, axis=0)
        place = draws.normal(size=2) + np.cumsum(velocity, axis=0) / 10
        arrays[f"{e}/observations"] = np.concatenate([place, velocity], axis=1).astype(np.float32)
        arrays[f"{e}/actions"] = velocity.astype(np.float32)
    np.savez(folder / "walks.npz", **arrays)
    return folder / "walks.npz"


def frames(path, **options):
    kind = modality("episodes")
    source, config = kind.settle(
        kind.open(path, EpisodesConfig(states=10, actions=6, **options)),
        EpisodesConfig(states=10, actions=6, **options),
    )
    return kind.dataset(source, config)


def of(values, valid=None):
    values = torch.tensor(values)
    return Moments(
        torch.zeros(len(values), 1, 4),
        values,
        torch.ones(values.shape[:2], dtype=torch.bool) if valid is None else valid,
    )


def test_rmse_and_ate_of_known_errors():
    """Errors (3, 4) and (0, 0); then (1, 0) and (0, 1)."""
    truth = of([[[0.0, 0.0], [0.0, 0.0]]])
    found = score(torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]), truth)
    assert (found.ate, found.rmse) == (pytest.approx(2.5), pytest.approx(2.5))
    assert found.by_step == pytest.approx([12.5**0.5, 0.0])
    found = score(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), truth)
    assert (found.ate, found.rmse) == (pytest.approx(1.0), pytest.approx(0.5**0.5))


def test_what_is_beyond_the_end_does_not_count():
    truth = of([[[0.0], [0.0]]], torch.tensor([[True, False]]))
    assert score(torch.tensor([[[1.0], [100.0]]]), truth).rmse == pytest.approx(1.0)


def test_whole_episodes_are_held_out():
    groups = np.repeat(np.arange(10), 7)
    train, test = split_episodes(groups, 0.2, 0)
    assert len(set(groups[test])) == 2 and not set(groups[test]) & set(groups[train])
    assert set(test.tolist()) != set(split_episodes(groups, 0.2, 1)[1].tolist())
    with pytest.raises(DataError, match="one episode"):
        split_episodes(np.zeros(5), 0.2, 0)


def test_the_reader_is_shown_the_present_alone(tmp_path):
    """Were the states to come among the input, a baseline would be asked to copy them."""
    data, seen = frames(walks(tmp_path)), []

    def read(x):
        seen.append({name: tuple(part.shape[1:]) for name, part in x.items()})
        return x["state"][:, None]

    held = moments(read, data, np.arange(len(data)), "states", 64)
    assert all(parts == {"state": (4,), "task": (1,)} for parts in seen)
    assert held.values.shape == (64, 10, 4) and held.tokens.shape == (64, 1, 4)
    torch.testing.assert_close(held.values[:, 0], held.tokens[:, 0])


def test_a_head_learns_what_the_state_tells_and_not_what_noise_does(tmp_path):
    data = frames(walks(tmp_path, episodes=12))
    train, test = split_episodes(data.source.groups, 0.25, 0)

    def known(x):
        return torch.nn.functional.pad(x["state"], (0, 4))[:, None]

    def noise(x):
        return torch.randn(len(x["state"]), 1, 8, generator=torch.Generator().manual_seed(0))

    scores = {}
    for name, reader in (("known", known), ("noise", noise)):
        parts = [moments(reader, data, rows, "states", 400) for rows in (train, test)]
        scores[name] = fit_future(*parts, "states", QUICK, 0)
    assert scores["known"].rmse < 0.7 * scores["noise"].rmse
    # The present is told best, what comes later worse.
    assert scores["known"].by_step[0] < scores["known"].by_step[-1]
    again = [moments(known, data, rows, "states", 400) for rows in (train, test)]
    assert fit_future(*again, "states", QUICK, 0) == scores["known"]


def test_images_hold_no_future(tmp_path):
    from sklearn.datasets import load_digits

    np.savez(tmp_path / "digits.npz", images=load_digits().images[:20].astype(np.uint8) * 15)
    kind = modality("images")
    config = kind.suit(kind.config(), (1, 8, 8))
    data = kind.dataset(kind.open(tmp_path / "digits.npz", config), config)
    with pytest.raises(DataError, match="demonstrations"):
        moments(lambda x: x, data, np.arange(8), "states", 8)


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = walks(tmp_path)
    fields = ["--model.size", "nano", "--model.dim", "16", "--model.depth", "1", "--model.heads", "2"]
    options = [
        "--episodes.states",
        "10",
        "--episodes.actions",
        "6",
        "--steps",
        "2",
        "--batch-size",
        "8",
        "--workers",
        "0",
    ]
    train = ["pretrain", "act-jepa", "--data", str(data), "--out", "run", *fields, *options]
    assert main([*train, "--train.accelerator", "cpu"]) == 0
    monkeypatch.setattr("anyjepa.evaluation.probe_future.FutureConfig", lambda: replace(QUICK, steps=3))
    for what in ("states", "actions"):
        assert main(["probe", "run", "--data", str(data), "--task", what]) == 0
        told = capsys.readouterr().out
        assert "RMSE" in told and "present alone" in told
        rows = json.loads((tmp_path / "run" / f"probe-{what}.json").read_text())["rows"]
        assert [row["features"] for row in rows] == ["pretrained", "untrained", "state", "still"]
    assert main(["probe", "run", "--data", str(data), "--task", "states", "--probes", "knn"]) == 2
    assert "leave out --probes" in capsys.readouterr().err
    assert anyjepa.load("run").config.horizon == 10

"""The probe beside the training: what it scores, and that the training does not notice it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from anyjepa import create
from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.online import OnlineProbe
from anyjepa.pretraining import pretrain, resume
from anyjepa.training import OnlineProbeConfig, RunConfig
from anyjepa.training.checkpoint import find_checkpoints
from anyjepa.training.tensorfile import read_tensors

MODEL = dict(size="nano", dim=16, depth=1, heads=2, predictor_width=16, predictor_depth=1, patch_size=1)


def config(out, **probe) -> RunConfig:
    return RunConfig.from_mapping(
        dict(
            method="ijepa",
            data="digits:train",
            out=str(out),
            images=dict(limit=40),
            model=MODEL | dict(optim=dict(steps=9)),
            train=dict(batch_size=4, workers=0, log_every=2, checkpoint_every=4, accelerator="cpu"),
            online_probe=probe,
        )
    )


def lines(run) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_scores_are_those_of_the_features(tmp_path):
    """One bright pixel for each class: an untrained encoder tells them apart; with labels shuffled nobody does."""
    images, labels = np.zeros((400, 8, 8), np.uint8), np.arange(400) % 4
    for i, label in enumerate(labels):
        images[i, label, label] = 250
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    np.savez(tmp_path / "b.npz", images=images, labels=np.random.default_rng(0).permutation(labels))
    method = create("ijepa", **MODEL, image_size=(8, 8), channels=1)
    scores = {
        name: OnlineProbe(ImageDataset.open(tmp_path / name, ImageConfig(size=8), labels=True), 400)(method)
        for name in ("a.npz", "b.npz")
    }
    assert min(scores["a.npz"].values()) > 0.95 and max(scores["b.npz"].values()) < 0.5
    assert method.training


def test_scores_stand_in_the_log_and_the_training_does_not_notice(tmp_path):
    plain, probed = tmp_path / "plain", tmp_path / "probed"
    pretrain(config(plain))
    pretrain(config(probed, data="digits:test", every=4, samples=200))
    assert [row["step"] for row in lines(probed) if "probe_knn" in row] == [1, 4, 8, 9]
    assert all(0 <= row["probe_linear"] <= 1 for row in lines(probed) if "probe_linear" in row)
    assert not any("probe_knn" in row for row in lines(plain))
    first, second = (read_tensors(find_checkpoints(r)[0] / "model.safetensors") for r in (plain, probed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resume(probed).finished


def test_data_without_labels_and_sharded_models_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((30, 8, 8), np.uint8))
    with pytest.raises(DataError, match="label"):
        pretrain(config(tmp_path / "run", data=str(tmp_path / "x.npy")))
    sharded = config(tmp_path / "other", data="digits:test")
    with pytest.raises(ConfigError, match="fsdp"):
        pretrain(replace(sharded, train=replace(sharded.train, strategy="fsdp")))
    with pytest.raises(ConfigError, match="samples"):
        OnlineProbeConfig(samples=0)

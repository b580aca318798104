"""On real turntable views: with the true actions representations tell rotations, with actions of other draws they do so less."""

import numpy as np
import pytest
import torch

from anyjepa.contract import Batch
from anyjepa.data.modalities import modality
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.evaluation.sequence_features import part
from anyjepa.evaluation.sequence_tasks import Setting, equivariance_scores
from anyjepa.methods.seq_jepa import SeqJEPA, SeqJEPAConfig
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.schedules import OptimConfig
from anyjepa.training.optimizer import build_optimizer, set_schedules

STEPS, BATCH, OBJECTS = 250, 56, 6


def rotation_r2(path, chance, seed):
    """R2 of the rotation between two held-out views of objects that were trained on."""
    config = ViewsConfig(size=16, observed=(1, 1), chance_actions=chance)
    source = modality("views").open(path, config)
    rows = np.flatnonzero(source.objects < OBJECTS)
    held = rows % 72 // 3 % 4 == 3
    whole = ViewsDataset(source, config)
    train, test = part(whole, rows[~held]), part(whole, rows[held])
    method = SeqJEPA(
        SeqJEPAConfig(
            size="nano",
            channels=1,
            image_size=(16, 16),
            action_dim=2,
            stem="small",
            widths=(16, 32, 64),
            blocks=(1, 1, 1),
            action_width=16,
            depth=1,
            predictor_hidden=128,
            dropout=0.0,
            ema=(0.99, 1.0),
            regularizer=RegularizerConfig(kind="vicreg", weight=0.3, level="tokens", covariance=1.0),
            seed=seed,
            optim=OptimConfig(
                steps=STEPS,
                warmup_steps=40,
                start_lr=1e-4,
                lr=3e-3,
                final_lr=1e-4,
                weight_decay=1e-3,
                final_weight_decay=1e-3,
            ),
        )
    )
    optimizer, draws = build_optimizer(method), np.random.default_rng(seed)
    for step in range(STEPS):
        index = draws.integers(0, len(train.dataset), BATCH)
        set_schedules(optimizer, method.optim, step + 1)
        method(
            Batch(train.dataset.draw(step, index, seed), torch.from_numpy(index), step, seed)
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step)
    found = equivariance_scores(
        method, train, test, Setting(seed=seed, repeats=8, heads=("mlp",), hidden=(128,))
    )
    return {f.quantity: f.value for f in found}["relative rotation R2, mlp, uniform"]


def test_actions_make_representations_equivariant(require_data):
    path = require_data("views-coil20") / "COIL20.mat"
    true, chance = ([rotation_r2(path, wrong, seed) for seed in (0, 1)] for wrong in (False, True))
    assert min(true) > max(chance) and np.mean(true) > np.mean(chance) + 0.1, (true, chance)
    assert np.mean(true) == pytest.approx(np.clip(np.mean(true), 0.15, 1.0)), true

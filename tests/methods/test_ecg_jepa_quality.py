"""ECG-JEPA learns on real recordings: small but real trainings with the library's own loop, several seeds.

What a short training can show is that predictions know their recording (see docs/ecg.md for what it cannot). A broken method
shows it here: predictions of shuffled targets match nothing, and targets that never move are matched less.
"""

import pytest
import torch

from anyjepa import Batch, create
from anyjepa.data.ecg import EcgConfig, open_ecg
from anyjepa.data.ecg_dataset import EcgDataset
from anyjepa.data.loader import build_loader
from anyjepa.evaluation.features import untrained
from anyjepa.monitoring.doctor import COLLAPSED, DIVERGED
from anyjepa.monitoring.observe import observe
from anyjepa.training.config import TrainConfig
from anyjepa.training.loop import train

STEPS, BATCH, LENGTH = 600, 16, 400


@pytest.fixture(scope="module")
def recordings(require_data):
    """Training crops of two thirds of the recordings, and the middle of the others: other persons."""
    pytest.importorskip("wfdb", reason="the reader of WFDB records: anyjepa[ecg]")
    records = open_ecg(require_data("ecg-12lead"), EcgConfig(rate=100, seconds=4))
    every = range(len(records))
    known, others = [i for i in every if i % 3], [i for i in every if not i % 3]
    records = records.normalised(known)
    training = EcgDataset.of(records.subset(known))
    return training, torch.stack([records.read(i)[:, 300 : 300 + LENGTH] for i in others])


def match(method, x):
    """How well predictions for these recordings match what is particular to each: 0 is chance, 1 perfect."""
    with torch.no_grad():
        return observe(method.train()(Batch(x, torch.arange(len(x)), step=0)))["prediction_match"]


@pytest.mark.parametrize("seed", [0, 1])
def test_predictions_know_recordings_of_other_persons(recordings, tmp_path, seed):
    training, others = recordings
    method = create(
        "ecg-jepa",
        size="nano",
        channels=12,
        length=LENGTH,
        patch_size=10,
        patch_std=0.2,
        seed=seed,
        masks={"visible": [0.3, 0.5], "min_block": 2},
        ema=[0.99, 0.9995],
        regularizer={"kind": "vicreg", "level": "both", "weight": 0.2},
        optim={"steps": STEPS, "lr": 2e-3, "start_lr": 1e-6, "final_lr": 1e-6},
    )

    def loader(start, rank, world):
        return build_loader(
            training, seed=seed, batch_size=BATCH, steps=STEPS, start_step=start, rank=rank, world=world
        )

    config = TrainConfig(seed=seed, batch_size=BATCH, workers=0, accelerator="cpu", checkpoint_every=10**6)
    result = train(method, loader, config, tmp_path / "run")
    learned, random = match(method, others), match(untrained(method, seed), others)
    print(f"seed {seed}: match {learned:.3f}, untrained {random:.3f}, {result.diagnosis.verdict}")
    assert result.diagnosis.verdict not in (*COLLAPSED, DIVERGED)
    assert random + 0.27 < learned < 0.5

"""S-JEPA on a real recording: a short training of a tiny model learns, and does not collapse."""

import numpy as np
import pytest
import torch

from anyjepa import Batch, create
from anyjepa.data.eeg import EEGConfig, open_eeg
from anyjepa.methods.sjepa import SJEPAConfig
from anyjepa.methods.sjepa_heads import SJEPAClassifier
from anyjepa.monitoring.observe import observe

TEXT = "F3 Fz F4 FC5 FC1 FC2 FC6 C3 Cz C4 CP5 CP1 CP2 CP6 P3 Pz P4 O1 Oz O2"
CHANNELS = tuple(TEXT.split())


@pytest.fixture(scope="module")
def windows(require_data):
    pytest.importorskip("mne", reason="MNE reads EEG: pip install 'anyjepa[eeg]'")
    files = [require_data("eeg-eegmmidb-s001") / f"S001R0{run}.edf" for run in (5, 6)]
    return open_eeg(files, EEGConfig(samples=280, every=1.0, channels=CHANNELS))


@pytest.fixture(scope="module")
def trained(windows):
    config = SJEPAConfig(size="nano", dropout=0.0, ema=(0.98, 1.0))
    method = create("sjepa", config.with_channels(windows.electrodes, windows.positions).fit(windows.shape))
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    order = np.random.default_rng(0)
    losses, statistics = [], {}
    for step in range(60):
        index = order.choice(len(windows), 16, replace=False)
        output = method(Batch(windows.batch(index), torch.from_numpy(index), step=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(output.loss.item())
        statistics = observe(output)
    return method, losses, statistics


def test_the_loss_falls_and_nothing_collapses(trained):
    _, losses, statistics = trained
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert statistics["target_std"] > 0.05 and statistics["target_rank"] > 5
    assert statistics["prediction_match"] > 0.05


def test_the_trained_model_moves_to_fewer_channels_and_classifies(trained, windows):
    method, _, _ = trained
    fewer = method.with_channels(["C3", "Cz", "C4"])
    rows = [windows.electrodes.index(c) for c in ("C3", "Cz", "C4")]
    x = windows.batch(range(4))[:, rows]
    z = fewer.eval().encode(x)
    assert z.layout.grid == (3, 2) and torch.isfinite(z.pooled).all()
    assert SJEPAClassifier(fewer, 2)(x).shape == (4, 2)

"""S-JEPA on real EEG, several seeds: on recordings it has not seen, predictions of hidden electrodes know what happened there.

Their content (what is left when the mean over all windows at an electrode and second is taken off) is compared with that of the
targets. A prediction that knows the place alone has none.
"""

import pytest
import torch
from torch import nn

from anyjepa import Batch, create
from anyjepa.contract import Masks
from anyjepa.data import build_loader
from anyjepa.data.eeg import EEGConfig, open_eeg
from anyjepa.data.eeg_dataset import EEGDataset
from anyjepa.methods.sjepa import SJEPAConfig
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.schedules import OptimConfig

TEXT = "F3 Fz F4 FC1 FC2 C3 Cz C4 CP1 CP2 P3 Pz P4 Oz"
CHANNELS = tuple(TEXT.split())
STEPS, SEEDS = 100, (0, 1, 2)


@pytest.fixture(scope="module")
def recordings(require_data):
    pytest.importorskip("mne", reason="MNE reads EEG: pip install 'anyjepa[eeg]'")
    folder = require_data("eeg-eegmmidb-s001")
    config = EEGConfig(samples=280, every=1.0, channels=CHANNELS)
    runs = ((3, 4, 7), (5, 6))
    return [open_eeg([folder / f"S001R0{run}.edf" for run in part], config) for part in runs]


def fresh(windows, seed):
    config = SJEPAConfig(
        size="nano",
        dropout=0.0,
        ema=(0.99, 1.0),
        seed=seed,
        regularizer=RegularizerConfig(kind="vicreg", level="both", weight=0.2),
        optim=OptimConfig(steps=STEPS),
    )
    return create("sjepa", config.with_channels(windows.electrodes, windows.positions).fit(windows.shape))


def trained(method, windows, seed):
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    data = EEGDataset(windows, EEGConfig(jitter=1.0))
    for batch in build_loader(data, seed=seed, batch_size=16, steps=STEPS):
        output = method(batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(batch.step)
    return method


@torch.no_grad()
def knowledge(method, windows):
    """Correlation of the contents of predictions and of targets, for one mask after the other."""
    method.eval()
    x = windows.batch(range(0, len(windows), 4))
    content = method.encode(x).tokens
    content = content - content.mean(0)
    drawn = method.draw_masks(Batch(x, torch.arange(len(x)))).targets[:, 0]
    guesses, truths = [], []
    for hidden in (row.unique() for row in drawn[:8]):
        context = torch.tensor(sorted(set(range(method.layout.tokens)) - set(hidden.tolist())))
        masks = Masks(context.expand(len(x), -1), hidden.expand(len(x), 1, -1))
        predicted = method(Batch(x, torch.arange(len(x))), masks).predicted[:, 0]
        guesses.append((predicted - predicted.mean(0)).flatten())
        truths.append(content[:, hidden].flatten())
    guess, truth = torch.cat(guesses), torch.cat(truths)
    return float((guess @ truth) / (guess.norm() * truth.norm()))


@pytest.fixture(scope="module")
def models(recordings):
    """A trained model of each seed."""
    return [trained(fresh(recordings[0], seed), recordings[0], seed) for seed in SEEDS]


def test_predictions_know_what_happens_on_unseen_recordings(recordings, models):
    seen, unseen = recordings
    before = [knowledge(fresh(seen, seed), unseen) for seed in SEEDS]
    after = [knowledge(model, unseen) for model in models]
    assert max(map(abs, before)) < 0.15, "an untrained predictor knows nothing"
    assert min(after) > 0.45


class Shifted(nn.Module):
    """The targets of another window."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x, **more):
        return self.encoder(x, **more).roll(1, 0)


def test_targets_of_other_windows_teach_nothing(recordings, monkeypatch):
    seen, unseen = recordings
    method = fresh(seen, 0)
    right = method.target.encoder
    monkeypatch.setattr(
        method.target, "encoder", lambda own: Shifted(right(own)) if method.training else right(own)
    )
    assert abs(knowledge(trained(method, seen, 0), unseen)) < 0.15


def test_the_target_encoder_has_followed(recordings, models):
    seen, _ = recordings
    start, method = fresh(seen, 0), models[0]
    x = seen.batch(range(16))
    first, now = start.eval().encode(x).tokens, method.eval().encode(x).tokens
    context = method.encode(x, encoder="context").tokens
    assert (now - context).norm() < 0.8 * (first - context).norm()

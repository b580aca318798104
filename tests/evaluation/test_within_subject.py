"""Cross-validation within subjects: it learns what is there, finds nothing in shuffled labels, and restores the best epoch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.within_subject import WithinSubjectConfig, fit_decoder, within_subject

FAST = WithinSubjectConfig(folds=3, epochs=30, new_epochs=5, patience=10, batch_size=16, lr=0.02)


class Tiny(nn.Module):
    """A pretrained layer and a new one; counts what was trained when."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.pretrained, self.new, self.calls, self.looked = nn.Linear(4, 4), nn.Linear(4, 2), [], 0

    def forward(self, x):
        return self.classify(self.pretrained_features(x))

    def pretrained_features(self, x):
        self.looked += len(x)
        return torch.relu(self.pretrained(x.mean(-1)))

    def classify(self, features):
        return self.new(features)

    def new_parameters(self):
        yield from self.new.parameters()

    def unfreeze(self, full=True):
        self.calls.append(full)
        self.pretrained.requires_grad_(full)


def trials(subjects=2, n=30):
    labels = np.tile([0, 1], subjects * n // 2)
    x = 0.7 * torch.randn(subjects * n, 4, 10)
    x[:, 0] += torch.from_numpy(labels)[:, None] * 2.0 - 1.0
    return x, labels, np.repeat(np.arange(subjects), n)


def test_it_learns_a_difference_and_nothing_from_shuffled_labels():
    x, labels, subjects = trials()
    found = within_subject(Tiny, x, labels, subjects, FAST)
    assert found.scores.shape == (2, 3) and found.subjects == (0, 1) and found.mean > 0.9
    assert "over 2 subjects x 3 folds" in str(found)
    auc = within_subject(Tiny, x, labels, subjects, replace(FAST, metric="auc"))
    assert auc.mean > 0.95 and auc.metric == "auc"
    shuffled = np.random.default_rng(0).permutation(labels)
    assert 0.25 < within_subject(Tiny, x, shuffled, subjects, FAST).mean < 0.75


def test_the_same_seed_gives_the_same_scores():
    x, labels, subjects = trials(1)
    first, second = (within_subject(Tiny, x, labels, subjects, FAST).scores for _ in range(2))
    assert (first == second).all()


def test_new_layers_first_then_all_and_the_best_epoch_is_kept():
    x, labels, _ = trials(1)
    train, valid = np.arange(20), np.arange(20, 30)
    model = Tiny()
    before = model.pretrained.weight.clone()
    losses = fit_decoder(model, x, labels, train, valid, FAST)
    assert model.calls == [False, True] and not torch.equal(model.pretrained.weight, before)
    loss = nn.functional.cross_entropy(model(x[valid]), torch.from_numpy(labels[valid]))
    assert loss.item() == pytest.approx(min(losses), abs=1e-6)
    model = Tiny()
    fit_decoder(model, x, labels, train, valid, replace(FAST, full=False))
    assert model.calls == [False] and torch.equal(model.pretrained.weight, before)
    model = Tiny()
    fit_decoder(model, x, labels, train, valid, replace(FAST, new_epochs=0))
    assert model.calls == [True]


def test_training_ends_when_the_validation_loss_does_not_fall():
    x, _, _ = trials(1)
    noise = np.random.default_rng(1).integers(0, 2, 30)
    short = replace(FAST, patience=3, epochs=200)
    rows = (np.arange(20), np.arange(20, 30))
    losses = fit_decoder(Tiny(), x, noise, *rows, replace(short, full=False))
    assert len(losses) < 200 and len(losses) - 1 - int(np.argmin(losses)) == 3
    all_layers = fit_decoder(Tiny(), x, noise, *rows, short)
    assert len(all_layers) >= short.new_epochs + 3, "all layers get their patience, too"


def test_too_few_windows_and_impossible_settings():
    x, labels, subjects = trials(1)
    with pytest.raises(DataError, match="subject 0 has 2 classes, the smallest with 2 windows"):
        within_subject(Tiny, x[:4], labels[:4], subjects[:4], FAST)
    with pytest.raises(DataError, match="subject 0 has 1 classes"):
        within_subject(Tiny, x, np.zeros_like(labels), subjects, FAST)
    with pytest.raises(DataError, match="auc needs two classes, got 3"):
        within_subject(Tiny, x, np.arange(30) % 3, subjects, replace(FAST, metric="auc"))
    for wrong in ({"folds": 1}, {"validation": 1.0}, {"patience": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            WithinSubjectConfig(**wrong)


def test_frozen_layers_look_at_each_window_once():
    x, labels, _ = trials(1)
    train, valid = np.arange(20), np.arange(20, 30)
    model = Tiny()
    losses = fit_decoder(model, x, labels, train, valid, replace(FAST, full=False))
    assert len(losses) > 1 and model.looked == 30
    # The features that are kept are those of the weights as they are.
    with torch.no_grad():
        kept = torch.nn.functional.cross_entropy(model(x[valid]), torch.from_numpy(labels[valid]))
    assert min(losses) == pytest.approx(float(kept), rel=1e-5)

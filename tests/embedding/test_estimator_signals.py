"""The estimator on arrays of signals: in a pipeline, cross-validated, cloned."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from anyjepa.embedding import Embedder

_SMALL = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=2)
_SECONDS = np.arange(400) / 100
_DRAWS = np.random.default_rng(0)
_Y = np.arange(24) % 2


def _ecg() -> np.ndarray:
    beats = np.maximum(0, np.sin(2 * np.pi * (1 + _Y[:, None]) * _SECONDS)) ** 20
    return beats[:, None] * np.linspace(0.5, 1.5, 12)[:, None] + 0.05 * _DRAWS.standard_normal((24, 12, 400))


def _eeg() -> np.ndarray:
    waves = 10 * np.sin(2 * np.pi * np.where(_Y, 10, 20)[:, None] * _SECONDS)
    return waves[:, None] + _DRAWS.standard_normal((24, 4, 400))


def _fmri() -> np.ndarray:
    return np.cumsum(_DRAWS.standard_normal((24, 40, 12)), axis=1)


CASES = {
    "ecg-jepa": (
        _ecg,
        {
            "model": {**_SMALL, "predictor_heads": 2, "patch_size": 10},
            "ecg": {"rate": 100.0, "file_rate": 100.0, "seconds": 3.0},
        },
    ),
    "sjepa": (
        _eeg,
        {
            "model": dict(dim=16, depth=2, heads=2, hidden=32, predictor_depth=1, dropout=0.0),
            "eeg": {"channels": ["C3", "C4", "O1", "O2"], "source_rate": 100.0},
        },
    ),
    "brainjepa": (_fmri, {"model": {**_SMALL, "patch_size": 4}, "fmri": {"frames": 24}}),
}


@pytest.mark.parametrize("method", CASES)
def test_arrays_in_a_pipeline(method):
    if method == "sjepa":
        pytest.importorskip("mne", reason="MNE is the extra 'eeg'")
    make, options = CASES[method]
    embedder = Embedder(method, steps=2, batch_size=8, options=options, random_state=0, device="cpu")
    scores = cross_val_score(make_pipeline(embedder, LogisticRegression(max_iter=500)), make(), _Y, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()
    vectors = clone(embedder).fit_transform(make())
    assert vectors.shape == (24, 16) and np.isfinite(vectors).all()

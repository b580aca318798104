"""Decoders of EEG without a network: CSP with LDA, slow potentials with shrinkage LDA, and linear classifiers of features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDS = 5

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]
"""Answers for test trials from (training trials, their labels, test trials, samples per second)."""


def cross_validated(fit: Fit, x: np.ndarray, labels: np.ndarray, seed: int, rate: float = 0.0) -> list[float]:
    """Accuracy of each of five stratified folds; everything is fitted inside the fold."""
    from sklearn.model_selection import StratifiedKFold

    scores = []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, labels):
        scores.append(float((fit(x[train], labels[train], x[test], rate) == labels[test]).mean()))
    return scores


def csp(low: float, high: float) -> Fit:
    """Common spatial patterns of a band, and LDA of their log power. Filters are causal to nobody: each trial alone."""

    def fit(train: np.ndarray, labels: np.ndarray, test: np.ndarray, rate: float) -> np.ndarray:
        import mne
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline

        def band(x: np.ndarray) -> np.ndarray:
            from scipy.signal import butter, sosfiltfilt

            sections = butter(4, (low, high), "bandpass", fs=rate, output="sos")
            return sosfiltfilt(sections, x, axis=-1, padlen=min(x.shape[-1] - 1, int(rate)))

        with mne.utils.use_log_level("error"):
            patterns = mne.decoding.CSP(n_components=6, reg="ledoit_wolf", log=True)
            model = make_pipeline(patterns, LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
            return model.fit(band(train), labels).predict(band(test))

    return fit


def slow(train: np.ndarray, labels: np.ndarray, test: np.ndarray, rate: float) -> np.ndarray:
    """The readiness potential: mean of the last 100 ms less that of the first, shrinkage LDA."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    n = round(0.1 * rate)

    def features(x: np.ndarray) -> np.ndarray:
        return x[..., -n:].mean(-1) - x[..., :n].mean(-1)

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return model.fit(features(train), labels).predict(features(test))


def linear(train: np.ndarray, labels: np.ndarray, test: np.ndarray, rate: float) -> np.ndarray:
    """Ridge classifier of standardised features, its strength chosen inside the training folds."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(0, 6, 13)))
    return model.fit(train, labels).predict(test)


def normalised(fit: Fit) -> Fit:
    """The same on trials whose channels all have mean 0 and variance 1: what S-JEPA's local encoder leaves of them at best."""

    def standard(x: np.ndarray) -> np.ndarray:
        return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)

    return lambda train, labels, test, rate: fit(standard(train), labels, standard(test), rate)


CLASSICAL: dict[str, Fit] = {
    "csp": csp(8, 30),
    "csp-wide": csp(4, 38),
    "csp-normalised": normalised(csp(8, 30)),
    "slow": slow,
    "slow-normalised": normalised(slow),
    "linear": linear,
}


@torch.no_grad()
def linear_features(method: Any, x: Tensor, pooling: str) -> np.ndarray:
    """Frozen features: the ``mean`` over all tokens, or for each of the ``channels`` the mean over time."""
    found = [method.encode(part, encoder="context") for part in x.split(32)]
    if pooling == "mean":
        return torch.cat([z.pooled for z in found]).numpy()
    tokens = [z.tokens.unflatten(1, z.layout.grid).mean(2).flatten(1) for z in found]
    return torch.cat(tokens).numpy()

"""Several numbers told from vectors: heads, and the two things that are called R2."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation.ridge import STRENGTHS
from anyjepa.evaluation.standard import scaling

HEADS = ("linear", "mlp")
HIDDEN = (1024, 1024)
"""Hidden layers of the MLP head (two of 1024 in the protocol of seq-JEPA)."""
EPOCHS = 300

Predict = Callable[[Float[np.ndarray, "m F"]], Float[np.ndarray, "m K"]]


def uniform_r2(truth: Float[np.ndarray, "n K"], told: Float[np.ndarray, "n K"]) -> float:
    """The mean of the R2 of each number: each is compared with its own mean. A number that never changes counts as 0."""
    error = np.square(truth - told).sum(axis=0)
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    return float(np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), 0.0).mean())


def global_r2(truth: Float[np.ndarray, "n K"], told: Float[np.ndarray, "n K"]) -> float:
    """One R2 over all numbers, compared with one mean of them all. It is larger where their means differ."""
    spread = np.square(truth - truth.mean()).sum()
    return float(1 - np.square(truth - told).sum() / spread) if spread > 0 else 0.0


def fit_regression(
    head: str,
    features: Float[np.ndarray, "n F"],
    truth: Float[np.ndarray, "n K"],
    *,
    seed: int = 0,
    hidden: tuple[int, ...] = HIDDEN,
) -> Predict:
    """Fit a head on standardised features.

    Args:
        head: ``"linear"`` (ridge regression, its strength chosen by leave-one-out error) or ``"mlp"`` (ReLU, Adam, ended early by
            a tenth of the training samples that is held out).
        features, truth: training vectors and the numbers to be told.
        seed: of the weights and the held-out tenth.
        hidden: widths of the hidden layers of the MLP.

    Raises:
        ConfigError: there is no such head.
        DataError: a vector or a number is not finite, or there are too few.
    """
    if head not in HEADS:
        raise ConfigError(f"unknown head '{head}': {nearest(head, HEADS)}")
    if len(features) < 10:
        raise DataError(f"{len(features)} training samples are too few to fit a regression: give at least 10")
    if not (np.isfinite(features).all() and np.isfinite(truth).all()):
        raise DataError("features and the numbers to be told must be finite: some are NaN or infinite")
    mean, scale = scaling(features)
    # The MLP's steps are of one size for all numbers; ridge does not mind.
    centre, width = truth.mean(axis=0), np.where(truth.std(axis=0) > 1e-12, truth.std(axis=0), 1.0)
    model = _model(head, len(features), seed, hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit((features - mean) / scale, (truth - centre) / width)

    def predict(some: np.ndarray) -> np.ndarray:
        return model.predict((some - mean) / scale).reshape(len(some), -1) * width + centre

    return predict


def _model(head: str, count: int, seed: int, hidden: tuple[int, ...]) -> Any:
    if head == "linear":
        from sklearn.linear_model import RidgeCV

        return RidgeCV(alphas=np.array(STRENGTHS) * count)
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(
        hidden_layer_sizes=hidden,
        batch_size=min(256, count),
        max_iter=EPOCHS,
        early_stopping=True,
        n_iter_no_change=10,
        random_state=seed,
    )

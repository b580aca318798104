"""Linear probe: multinomial logistic regression on standardised features, its L2 strength chosen on training labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from anyjepa.errors import DataError
from anyjepa.evaluation.splits import folds
from anyjepa.evaluation.standard import scaling

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""L2 strengths tried: the weight of |w|^2 / 2 next to the mean log loss."""

FOLDS = 5
ALL_FOLDS_UP_TO = 1000
"""Up to so many labels every fold validates once; with more the first fold alone is large enough."""

ITERATIONS = 2000


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    Attributes:
        mean, scale: what features are standardised with, (F,).
        model: logistic regression on standardised features.
        strength: the chosen L2 strength.
        converged: whether the last fit did.
    """

    mean: Float[np.ndarray, "F"]
    scale: Float[np.ndarray, "F"]
    model: LogisticRegression
    strength: float
    converged: bool

    def predict(self, features: Float[np.ndarray, "m F"]) -> Int[np.ndarray, "m"]:
        """Classes of ``features``."""
        return self.model.predict((features - self.mean) / self.scale)

    def accuracy(self, features: Float[np.ndarray, "m F"], labels: Int[np.ndarray, "m"]) -> float:
        """Share of ``features`` that get their true class, 0..1."""
        return float((self.predict(features) == labels).mean())


def fit_linear(
    features: Float[np.ndarray, "n F"],
    labels: Int[np.ndarray, "n"],
    *,
    seed: int = 0,
    strengths: tuple[float, ...] = STRENGTHS,
) -> LinearProbe:
    """Fits a probe.

    The strength with the best accuracy on held-out training labels is taken (the largest of equals), and the probe is fitted
    again on all of them. A fifth is held out, stratified; up to 1000 labels each fifth in turn. Strengths are tried from the
    largest down, until two in a row do worse than the best.

    Args:
        features, labels: training vectors and their classes.
        seed: seed of the folds.
        strengths: L2 strengths to try.

    Raises:
        DataError: there is only one class.
    """
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"a probe needs at least two classes, all {len(labels)} labels are {labels[:1].tolist()}"
        )
    mean, scale = scaling(features)
    standard = (features - mean) / scale

    ordered = sorted(strengths, reverse=True)
    strength = ordered[0] if len(ordered) == 1 else _validated(standard, labels, ordered, seed)
    model = None
    # Weak regularisation converges slowly from zero: go there by way of the stronger ones.
    for step in (s for s in ordered if s >= strength):
        model, converged = _fit(standard, labels, step, model)
    assert model is not None
    return LinearProbe(mean, scale, model, strength, converged)


def _validated(standard: np.ndarray, labels: np.ndarray, strengths: list[float], seed: int) -> float:
    """The strength with the most correct held-out predictions; strengths come in falling order.

    The search ends after two in a row that do worse than the best: weaker ones cost most and overfit more.
    """
    fold = folds(labels, FOLDS, seed)
    splits = [fold != held for held in range(FOLDS if len(labels) <= ALL_FOLDS_UP_TO else 1)]
    splits = [inside for inside in splits if not inside.all() and len(np.unique(labels[inside])) > 1]
    models: list[LogisticRegression | None] = [None] * len(splits)
    best, most, worse = strengths[0], -1, 0
    for strength in strengths:
        correct = 0
        for i, inside in enumerate(splits):
            models[i], _ = _fit(standard[inside], labels[inside], strength, models[i])
            correct += int((models[i].predict(standard[~inside]) == labels[~inside]).sum())  # type: ignore[union-attr]
        worse = worse + 1 if correct < most else 0
        if correct > most:
            best, most = strength, correct
        if worse == 2:
            break
    return best


def _fit(
    standard: np.ndarray, labels: np.ndarray, strength: float, start: LogisticRegression | None
) -> tuple[LogisticRegression, bool]:
    """A model, started from the weights of another, and whether it converged."""
    model = LogisticRegression(C=1.0 / (strength * len(labels)), max_iter=ITERATIONS, warm_start=True)
    if start is not None:
        model.coef_, model.intercept_, model.classes_ = start.coef_, start.intercept_, start.classes_
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(standard, labels)
    return model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)

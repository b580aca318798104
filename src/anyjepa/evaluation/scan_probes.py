"""Linear models of age, sex and diagnosis on frozen features of scans; their strength is chosen on training subjects alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from anyjepa.errors import DataError
from anyjepa.evaluation.scan_folds import check_disjoint, subject_folds
from anyjepa.evaluation.scan_scores import Scores, class_scores, number_scores

STRENGTHS = tuple(10.0**e for e in range(-1, 6))
"""L2 strengths tried: the weight of |w|^2 next to the sum of squared errors, or of |w|^2 / 2 next to the summed log loss."""
INNER_FOLDS = 5

Features = Float[np.ndarray, "n F"] | Sequence[Float[np.ndarray, "n _"]]
"""A vector for each scan; or such a matrix for each fold, in the order of their numbers, where features are learned without the
scans of the fold."""


def predict_number(
    features: Features,
    values: Float[np.ndarray, "n"],
    subjects: Sequence[str],
    fold: Int[np.ndarray, "n"],
    *,
    seed: int = 0,
) -> Scores:
    """Ridge regression of a number (age) on standardised features; errors in units of its deviation in training.

    The L2 strength is chosen on training subjects alone.

    Args:
        features: a vector for each scan; see Features.
        values: the number of each scan.
        subjects: subject of each scan.
        fold: the fold in which each scan is held out.
        seed: of the folds on which the strength is chosen.

    Raises:
        DataError: a value is missing, or a subject is on both sides of a fold.
    """
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} scans have no value: leave them out")
    found: dict[str, list[float]] = {"mse": [], "r": []}
    constant: list[float] = []
    predicted, unit = np.empty(len(values)), np.empty(len(values))
    for x, inside, outside in _splits(features, subjects, fold):
        mean, deviation = values[inside].mean(), values[inside].std() or 1.0
        truth = (values - mean) / deviation
        kind = (Ridge(), "alpha", STRENGTHS, "neg_mean_squared_error")
        guess = _fit(*kind, x, truth, subjects, inside, seed).predict(x[outside])
        scores = number_scores(guess, truth[outside])
        for name, score in scores.items():
            found[name].append(score)
        constant.append(float(np.mean(truth[outside] ** 2)))
        predicted[outside], unit[outside] = guess * deviation + mean, deviation
    return Scores(
        "number",
        {k: tuple(v) for k, v in found.items()},
        {"mse": float(np.mean(constant)), "r": 0.0},
        predicted,
        fold,
        values,
        unit=unit,
    )


def predict_class(
    features: Features,
    classes: Int[np.ndarray, "n"],
    subjects: Sequence[str],
    fold: Int[np.ndarray, "n"],
    *,
    seed: int = 0,
) -> Scores:
    """Logistic regression of a class (sex, diagnosis) on standardised features. With two classes the larger is the positive one.

    The L2 strength is chosen on training subjects alone.

    Args:
        features: a vector for each scan; see Features.
        classes: the class of each scan.
        subjects: subject of each scan.
        fold: the fold in which each scan is held out.
        seed: of the folds on which the strength is chosen.

    Raises:
        DataError: a class is missing (-1), there is one class only, in all or in a training part, or a subject is on both sides.
    """
    if (classes < 0).any():
        raise DataError(f"{int((classes < 0).sum())} scans have no class: leave them out")
    known = np.unique(classes)
    if len(known) < 2:
        raise DataError(f"a score needs two classes, all {len(classes)} scans are of class {known.tolist()}")
    found: dict[str, list[float]] = {"accuracy": [], "f1": [], "auroc": []}
    chance: dict[str, list[float]] = {"accuracy": [], "f1": []}
    predicted, likely = np.empty(len(classes)), np.empty((len(classes), len(known)))
    for x, inside, outside in _splits(features, subjects, fold):
        if len(np.unique(classes[inside])) < len(known):
            raise DataError(
                f"without fold {fold[outside][0]} the training scans lack a class: use fewer folds, or other ones"
            )
        strengths = [1.0 / s for s in STRENGTHS]
        kind = (LogisticRegression(max_iter=2000), "C", strengths, "neg_log_loss")
        fitted = _fit(*kind, x, classes, subjects, inside, seed)
        probability = fitted.predict_proba(x[outside])
        for name, score in class_scores(probability, classes[outside], known).items():
            found[name].append(score)
        predicted[outside], likely[outside] = known[probability.argmax(axis=1)], probability
        counts = (classes[inside][:, None] == known).sum(axis=0)
        constant = np.tile(counts == counts.max(), (int(outside.sum()), 1)).astype(float)
        for name in chance:
            chance[name].append(class_scores(constant, classes[outside], known)[name])
    return Scores(
        "class",
        {k: tuple(v) for k, v in found.items()},
        {k: float(np.mean(v)) for k, v in chance.items()} | {"auroc": 0.5},
        predicted,
        fold,
        classes,
        probability=likely,
    )


def _splits(
    features: Features, subjects: Sequence[str], fold: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each fold its features, and which scans are inside and outside of its training."""
    people, numbers = np.asarray(subjects, dtype=str), np.unique(fold)
    if len(numbers) < 2:
        raise DataError("at least two folds are needed")
    matrices = [features] * len(numbers) if isinstance(features, np.ndarray) else list(features)
    if len(matrices) != len(numbers):
        raise DataError(f"{len(matrices)} matrices of features do not fit {len(numbers)} folds")
    found = []
    for x, k in zip(matrices, numbers, strict=True):
        if not len(x) == len(people) == len(fold):
            raise DataError(
                f"{len(x)} feature vectors, {len(people)} subjects and {len(fold)} folds do not fit each other"
            )
        inside, outside = fold != k, fold == k
        check_disjoint(people[inside].tolist(), people[outside].tolist())
        found.append((x, inside, outside))
    return found


def _fit(
    model: Any,
    name: str,
    values: Sequence[float],
    score: str,
    rows: np.ndarray,
    truth: np.ndarray,
    subjects: Sequence[str],
    inside: np.ndarray,
    seed: int,
) -> Any:
    """A model whose strength, the parameter ``name``, was chosen on folds of the training subjects."""
    people = np.asarray(subjects, dtype=str)[inside]
    parts = min(INNER_FOLDS, len(np.unique(people)))
    inner = subject_folds(people.tolist(), truth[inside], parts=parts, seed=seed)
    # With more features than scans the weights lie in the span of the scans: turned there, a fit is the same and far cheaper.
    turned = make_pipeline(StandardScaler(), PCA(svd_solver="full"))
    x = turned.fit_transform(rows[inside])
    search = GridSearchCV(model, {name: list(values)}, scoring=score, cv=PredefinedSplit(inner))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(turned, search.fit(x, truth[inside]))

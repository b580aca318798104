"""What brain scans say about the people in them: age, sex, diagnosis, from frozen features, with no subject on both sides.

Scores are those of the field (Brain-JEPA, arXiv 2409.19407, section 4): mean squared error of standardised values and Pearson's r
for numbers; accuracy, F1 of the positive class and area under the ROC curve for classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from anyjepa.contract import Method
from anyjepa.data.fmri import FmriSource
from anyjepa.data.gradients import connectivity
from anyjepa.errors import ConfigError, DataError
from anyjepa.randomness import derive_seed

STRENGTHS = tuple(10.0**e for e in range(-1, 6))
"""L2 strengths tried: the weight of |w|^2 next to the sum of squared errors, or of |w|^2 / 2 next to the summed log loss."""
INNER_FOLDS = 5
BINS = 4
"""Numbers are spread evenly over the folds by their quarter."""


@dataclass(frozen=True)
class Scores:
    """Scores of held-out scans, fold by fold; a score that a fold cannot have (r of a constant, AUROC of one class) is NaN."""

    task: str
    """``"number"`` or ``"class"``."""
    values: dict[str, tuple[float, ...]]
    """``mse`` and ``r``, or ``accuracy``, ``f1`` and ``auroc``, for each fold."""
    chance: dict[str, float]
    """The same of the best constant answer: the mean, or the most frequent class."""
    predicted: Float[np.ndarray, "n"]
    """Prediction for each scan by the model that had not seen its subject: value, or class."""
    fold: Int[np.ndarray, "n"]
    """The fold in which a scan was held out."""

    def mean(self, score: str) -> float:
        """Mean of a score over the folds that have it."""
        return float(np.nanmean(self.values[score]))

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {self.mean(name):.3f} ± {np.nanstd(v):.3f} (constant {self.chance[name]:.3f})"
            for name, v in self.values.items()
        )


def check_disjoint(train: Sequence[str], test: Sequence[str]) -> None:
    """Raise DataError, with names, when a subject is on both sides."""
    both = sorted(set(train) & set(test))
    if both:
        raise DataError(
            f"{len(both)} subjects are in the training and in the test scans ({', '.join(both[:5])}{', ...' * (len(both) > 5)}): "
            "a model would recognise them; split by subject"
        )


def subject_folds(
    subjects: Sequence[str],
    labels: np.ndarray | None = None,
    sites: Sequence[str | None] | None = None,
    *,
    parts: int = 5,
    seed: int = 0,
) -> Int[np.ndarray, "n"]:
    """The fold 0..parts-1 of each scan: all scans of a subject are in one, labels and sites are spread as evenly as can be.

    Args:
        subjects: subject of each scan.
        labels: classes (whole numbers), or numbers, which are spread by their quarter.
        sites: site of each scan.
        parts: number of folds.
        seed: seed of the shuffle.

    Raises:
        DataError: fewer subjects than folds.
    """
    people = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)[1]
    if not 2 <= parts <= len(np.unique(people)):
        raise DataError(
            f"{len(np.unique(people))} subjects cannot be split into {parts} folds: use 2 to that many"
        )
    # Finest first: strata none of which reaches into every fold are too fine to be spread.
    strata, finer = np.zeros(len(people), dtype=np.int64), [np.zeros(len(people), dtype=np.int64)]
    for values in (None if labels is None else _binned(labels), sites):
        if values is not None:
            codes = np.unique(np.asarray([str(v) for v in values]), return_inverse=True)[1]
            strata = np.unique(strata * (codes.max() + 1) + codes, return_inverse=True)[1]
            finer.insert(0, strata)
    strata = next(s for s in finer if np.bincount(s).max() >= parts)
    draw = derive_seed(seed, "evaluation/subjects") % 2**32
    fold = np.empty(len(people), dtype=np.int64)
    split: Any = GroupKFold(parts, shuffle=True, random_state=draw)
    if len(np.unique(strata)) > 1:
        split = StratifiedGroupKFold(parts, shuffle=True, random_state=draw)
    with warnings.catch_warnings():
        # A stratum of fewer subjects than folds cannot be in each of them, which is no reason not to spread the others.
        warnings.simplefilter("ignore", UserWarning)
        for k, (_, held) in enumerate(split.split(np.zeros(len(people)), strata, people)):
            fold[held] = k
    return fold


def site_folds(sites: Sequence[str | None]) -> tuple[Int[np.ndarray, "n"], tuple[str, ...]]:
    """One fold for each site, to be tested on sites that were not seen, and the names of the sites.

    Raises:
        DataError: a site is unknown, or there is only one.
    """
    if any(site is None for site in sites):
        raise DataError("leaving sites out needs the site of every scan: some are unknown")
    names, fold = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"leaving sites out needs at least two, all scans are from '{names[0]}'")
    return fold.astype(np.int64), tuple(names.tolist())


def predict_number(
    features: Float[np.ndarray, "n F"],
    values: Float[np.ndarray, "n"],
    subjects: Sequence[str],
    fold: Int[np.ndarray, "n"],
    *,
    seed: int = 0,
) -> Scores:
    """Ridge regression of a number (age) on standardised features; errors in units of its deviation in training.

    The L2 strength is chosen on training subjects alone.

    Raises:
        DataError: a value is missing, or a subject is on both sides of a fold.
    """
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} scans have no value: leave them out")
    found: dict[str, list[float]] = {"mse": [], "r": []}
    constant: list[float] = []
    predicted = np.empty(len(values))
    for inside, outside in _splits(features, subjects, fold):
        mean, deviation = values[inside].mean(), values[inside].std() or 1.0
        truth = (values - mean) / deviation
        model = _search(Ridge(), "ridge__alpha", STRENGTHS, "neg_mean_squared_error")
        guess = _fit(model, features, truth, subjects, inside, seed).predict(features[outside])
        scores = number_scores(guess, truth[outside])
        for name, score in scores.items():
            found[name].append(score)
        constant.append(float(np.mean(truth[outside] ** 2)))
        predicted[outside] = guess * deviation + mean
    return Scores(
        "number",
        {k: tuple(v) for k, v in found.items()},
        {"mse": float(np.mean(constant)), "r": 0.0},
        predicted,
        fold,
    )


def predict_class(
    features: Float[np.ndarray, "n F"],
    classes: Int[np.ndarray, "n"],
    subjects: Sequence[str],
    fold: Int[np.ndarray, "n"],
    *,
    seed: int = 0,
) -> Scores:
    """Logistic regression of a class (sex, diagnosis) on standardised features. With two classes the larger is the positive one.

    The L2 strength is chosen on training subjects alone.

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
    predicted = np.empty(len(classes))
    for inside, outside in _splits(features, subjects, fold):
        if len(np.unique(classes[inside])) < len(known):
            raise DataError(
                f"without fold {fold[outside][0]} the training scans lack a class: use fewer folds, or other ones"
            )
        strengths = [1.0 / s for s in STRENGTHS]
        model = _search(LogisticRegression(max_iter=2000), "logisticregression__C", strengths, "neg_log_loss")
        fitted = _fit(model, features, classes, subjects, inside, seed)
        probability = fitted.predict_proba(features[outside])
        for name, score in class_scores(probability, classes[outside], known).items():
            found[name].append(score)
        predicted[outside] = known[probability.argmax(axis=1)]
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
    )


def number_scores(predicted: Float[np.ndarray, "n"], truth: Float[np.ndarray, "n"]) -> dict[str, float]:
    """Mean squared error and Pearson's r; r is NaN where one side is constant."""
    a, b = predicted - predicted.mean(), truth - truth.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    r = float((a * b).sum() / norm) if norm > 1e-12 * len(a) else float("nan")
    return {"mse": float(np.mean((predicted - truth) ** 2)), "r": r}


def class_scores(
    probability: Float[np.ndarray, "n C"], truth: Int[np.ndarray, "n"], known: Int[np.ndarray, "C"]
) -> dict[str, float]:
    """Accuracy, F1 (positive class of two, else the mean over classes) and AUROC (of more than two: the mean of one against the
    rest; NaN where a class does not occur in ``truth``)."""
    guess = known[probability.argmax(axis=1)]
    binary = len(known) == 2
    options: dict[str, Any] = {"pos_label": known[1]} if binary else {"average": "macro", "labels": known}
    auroc = float("nan")
    if len(np.unique(truth)) == len(known):
        score = probability[:, 1] if binary else probability
        auroc = float(
            roc_auc_score(truth == known[1], score)
            if binary
            else roc_auc_score(truth, score, multi_class="ovr", labels=known)
        )
    return {
        "accuracy": float((guess == truth).mean()),
        "f1": float(f1_score(truth, guess, zero_division=0.0, **options)),
        "auroc": auroc,
    }


def embed_scans(
    method: Method,
    source: FmriSource,
    *,
    clips: int = 1,
    encoder: str = "target",
    batch_size: int = 16,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "n D"]:
    """One vector per scan: pooled features, averaged over clips that lie evenly in it.

    Args:
        method: put into eval mode on ``device``. Padded clips need one whose ``encode`` takes ``valid`` (B, frames).
        source: the scans.
        clips: clips of each scan; 1: the middle.
        encoder: ``"target"`` or ``"context"``.
        batch_size: clips per forward pass.
        device: where to compute.
        progress: called with (clips done, clips in all).
    """
    if clips < 1 or batch_size < 1:
        raise ConfigError(f"clips and batch_size must be at least 1, got {clips} and {batch_size}")
    starts = [0.5] if clips == 1 else np.linspace(0.0, 1.0, clips).tolist()
    jobs = [(i, u) for i in range(len(source)) for u in starts]
    method = method.eval().to(device)
    parts: list[np.ndarray] = []
    with torch.inference_mode():
        for at in range(0, len(jobs), batch_size):
            read = [source.clip(i, u) for i, u in jobs[at : at + batch_size]]
            x = torch.stack([values for values, _ in read]).unsqueeze(1).to(device)
            valid = torch.stack([v for _, v in read]).to(device)
            extra: dict[str, Any] = {} if bool(valid.all()) else {"valid": valid}
            try:
                pooled = method.encode(x, encoder=encoder, **extra).pooled
            except TypeError as error:
                if not extra:
                    raise
                raise ConfigError(
                    f"{method.name} takes no padded clips: use shorter clips (frames)"
                ) from error
            parts.append(pooled.float().cpu().numpy())
            if progress is not None:
                progress(min(at + batch_size, len(jobs)), len(jobs))
    return np.concatenate(parts).reshape(len(source), clips, -1).mean(axis=1)


def connectivity_features(source: FmriSource) -> Float[np.ndarray, "n F"]:
    """The usual baseline: Fisher z of the correlation of every two regions, R (R - 1) / 2 per scan; 0 where a region is flat."""
    upper = np.triu_indices(source.rois, k=1)
    rows = []
    for scan in source.scans():
        r = np.nan_to_num(connectivity(scan)[upper])
        rows.append(np.arctanh(np.clip(r, -1 + 1e-6, 1 - 1e-6)).astype(np.float32))
    return np.stack(rows)


def _splits(
    features: np.ndarray, subjects: Sequence[str], fold: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    people = np.asarray(subjects, dtype=str)
    if not len(features) == len(people) == len(fold):
        raise DataError(
            f"{len(features)} feature vectors, {len(people)} subjects and {len(fold)} folds do not fit each other"
        )
    found = [(fold != k, fold == k) for k in np.unique(fold)]
    if len(found) < 2:
        raise DataError("at least two folds are needed")
    for inside, outside in found:
        check_disjoint(people[inside].tolist(), people[outside].tolist())
    return found


def _search(model: Any, name: str, values: Sequence[float], score: str) -> Any:
    return lambda split: GridSearchCV(
        make_pipeline(StandardScaler(), model), {name: list(values)}, scoring=score, cv=split
    )


def _fit(
    search: Any,
    features: np.ndarray,
    truth: np.ndarray,
    subjects: Sequence[str],
    inside: np.ndarray,
    seed: int,
) -> Any:
    """A model whose strength was chosen on folds of the training subjects."""
    people = np.asarray(subjects, dtype=str)[inside]
    parts = min(INNER_FOLDS, len(np.unique(people)))
    inner = subject_folds(people.tolist(), truth[inside], parts=parts, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return search(PredefinedSplit(inner)).fit(features[inside], truth[inside])


def _binned(labels: np.ndarray) -> np.ndarray:
    """Classes as they are, numbers as the quarter they lie in."""
    if labels.dtype.kind in "iub":
        return labels
    return np.searchsorted(np.quantile(labels, np.arange(1, BINS) / BINS), labels)

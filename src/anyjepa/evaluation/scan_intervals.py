"""How far scores of brain scans could be off because the people are few: a bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation.scan_scores import Scores
from anyjepa.randomness import derive_seed

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A score, or the difference of two, with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(
    runs: Sequence[Scores],
    subjects: Sequence[str],
    score: str,
    *,
    against: Sequence[Scores] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of a score over runs and their folds, and where it would lie with other people of the same kind.

    Subjects are drawn with replacement, all scans of one together and the same in all runs; the fitted models stay. So the
    interval covers the choice of people that were tested, not that of those trained on.

    Args:
        runs: scores of the same scans, say of several seeds.
        subjects: subject of each scan.
        score: ``mse`` or ``r``, ``accuracy``, ``f1`` or ``auroc``.
        against: other scores of the same scans: their mean is taken off, resample by resample.
        resamples: how many draws.
        seed: of the draws.

    Raises:
        ConfigError: the runs have no such score, or it is that of more than two classes.
        DataError: the scans are not the same.
    """
    everybody = [*runs, *(against or ())]
    for one in everybody:
        if score not in one.values:
            raise ConfigError(f"no score '{score}': {nearest(score, one.values)}")
        if len(one.truth) != len(subjects):
            raise DataError(f"{len(one.truth)} scans and {len(subjects)} subjects do not fit each other")
    names, person = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    generator = np.random.default_rng(derive_seed(seed, "evaluation/scans"))
    drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    # The first row counts everybody once: the score itself.
    weights = np.concatenate([np.ones((1, len(names))), drawn])[:, person]
    found = np.nanmean([_scores(one, score, weights) for one in runs], axis=0)
    if against:
        found = found - np.nanmean([_scores(one, score, weights) for one in against], axis=0)
    low, high = np.nanquantile(found[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(found[0]), float(low), float(high))


def _scores(one: Scores, score: str, weights: Float[np.ndarray, "W n"]) -> Float[np.ndarray, "W"]:
    """The mean over folds of a score, with each scan counted so many times."""
    folds = [one.fold == k for k in np.unique(one.fold)]
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.stack([_weighted(one, score, inside, weights[:, inside]) for inside in folds])
    known = np.isfinite(each)
    return np.where(known, each, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def _weighted(one: Scores, score: str, inside: np.ndarray, w: Float[np.ndarray, "W m"]) -> np.ndarray:
    truth, guess, total = one.truth[inside], one.predicted[inside], w.sum(axis=1)
    if score == "accuracy":
        return w @ (truth == guess) / total
    if score == "mse":
        assert one.unit is not None
        return w @ ((truth - guess) / one.unit[inside]) ** 2 / total
    if score == "r":
        a, b = ((v - (w @ v / total)[:, None]) for v in (truth, guess))
        return (w * a * b).sum(1) / np.sqrt((w * a**2).sum(1) * (w * b**2).sum(1))
    assert one.probability is not None
    if one.probability.shape[1] != 2:
        raise ConfigError(
            f"intervals of '{score}' are those of two classes, not of {one.probability.shape[1]}"
        )
    positive = truth == one.truth.max()
    if score == "f1":
        called = guess == one.truth.max()
        return 2 * w @ (called & positive) / (w @ called.astype(float) + w @ positive.astype(float))
    p = one.probability[inside, 1]
    before = (p[positive][:, None] > p[~positive]) + 0.5 * (p[positive][:, None] == p[~positive])
    hits = np.einsum("wi,ij,wj->w", w[:, positive], before, w[:, ~positive], optimize=True)
    return hits / (w[:, positive].sum(1) * w[:, ~positive].sum(1))

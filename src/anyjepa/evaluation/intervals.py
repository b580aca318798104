"""How far a score could be off because the test set is finite: Wilson intervals, and a paired bootstrap over test samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from anyjepa.randomness import derive_seed

LEVEL = 0.95
RESAMPLES = 4000
_CHUNK = 2_000_000  # weights drawn at once


def wilson(share: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a share of ``n`` samples (J. Am. Stat. Assoc. 22, 1927).

    It stays within 0..1 and holds its level near the ends, where the normal interval does not.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Tally:
    """What one probe did with each test sample, summed over the seeds that tested it.

    Attributes:
        times: (n,) how many seeds tested the sample.
        hits: (n,) right answers; for values: not used.
        squared, absolute: (n,) sums of squared and absolute errors; for classes: not used.
        truth: (n,) true values; for classes: not used.
    """

    times: Float[np.ndarray, "n"]
    hits: Float[np.ndarray, "n"]
    squared: Float[np.ndarray, "n"]
    absolute: Float[np.ndarray, "n"]
    truth: Float[np.ndarray, "n"]

    def score(self, metric: str, weights: Float[np.ndarray, "R n"]) -> Float[np.ndarray, "R"]:
        """The metric with each sample counted so many times: ``"accuracy"``, ``"r2"`` or ``"mae"``."""
        times = weights @ self.times
        if metric == "accuracy":
            return weights @ self.hits / times
        if metric == "mae":
            return weights @ self.absolute / times
        # Centred first: the difference below would cancel for values far from zero.
        truth = self.truth - (self.times @ self.truth) / self.times.sum()
        total = weights @ (self.times * truth**2) - (weights @ (self.times * truth)) ** 2 / times
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(total > 0, 1 - (weights @ self.squared) / total, -np.inf)


def bootstrap(
    tallies: Sequence[tuple[Tally, str]], seed: int, resamples: int = RESAMPLES
) -> Float[np.ndarray, "K R"]:
    """Scores on test sets drawn with replacement: the same ones for all, so that differences are paired.

    Args:
        tallies: K pairs of a tally and its metric, over the same n samples.
        seed: of the draws.
        resamples: R.
    """
    tested = np.flatnonzero(tallies[0][0].times)
    cut = [
        (Tally(t.times[tested], t.hits[tested], t.squared[tested], t.absolute[tested], t.truth[tested]), m)
        for t, m in tallies
    ]
    draw = np.random.Generator(np.random.Philox(derive_seed(seed, "evaluation/bootstrap")))
    n, found = len(tested), []
    size = max(1, min(resamples, _CHUNK // n))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        picked = draw.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(picked.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        found.append(np.stack([tally.score(metric, weights) for tally, metric in cut]))
    return np.concatenate(found, axis=1)


def middle(values: Float[np.ndarray, "R"], level: float = LEVEL) -> tuple[float, float]:
    """The interval that holds the middle share ``level`` of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def two_sided(differences: Float[np.ndarray, "R"]) -> float:
    """Chance of a difference at least as far on the other side of zero: twice the smaller tail; never below 2 / (R + 1)."""
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(differences) + 1))


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm, Scand. J. Stat. 6, 1979), in the order given."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(np.argsort(p, kind="stable")):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected

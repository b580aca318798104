"""From the answers of the probes to scores, intervals and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.intervals import Tally, bootstrap, holm, middle, two_sided, wilson
from anyjepa.evaluation.scores import Comparison, Score
from anyjepa.evaluation.task import REGRESS

NOISE = 0.05
"""A difference whose corrected p value is below this exceeds the noise."""


@dataclass
class Answers:
    """The answers of one probe, seed after seed.

    Attributes:
        labels: (n,) true labels of all samples.
        values: for each metric the score of each seed.
    """

    labels: Labels
    values: dict[str, list[float]] = field(default_factory=dict)
    _sums: Float[np.ndarray, "4 n"] | None = None

    def add(self, outside: Int[np.ndarray, "m"], answers: Labels) -> None:
        """The answers for the test samples of one more seed."""
        truth = self.labels[outside]
        if self._sums is None:
            self._sums = np.zeros((4, len(self.labels)))
        self._sums[0, outside] += 1
        if self.labels.dtype.kind != "f":
            hits = answers == truth
            self._sums[1, outside] += hits
            self._keep(accuracy=float(hits.mean()))
            return
        error = answers - truth
        self._sums[2, outside] += error**2
        self._sums[3, outside] += np.abs(error)
        total = float(((truth - truth.mean()) ** 2).sum())
        r2 = 1 - float((error**2).sum()) / total if total > 0 else -np.inf
        self._keep(r2=r2, mae=float(np.abs(error).mean()))

    def _keep(self, **scores: float) -> None:
        for metric, value in scores.items():
            self.values.setdefault(metric, []).append(value)

    @property
    def tally(self) -> Tally:
        """Sums over the seeds."""
        assert self._sums is not None
        times, hits, squared, absolute = self._sums
        return Tally(times, hits, squared, absolute, self.labels.astype(np.float64))


@dataclass(frozen=True)
class Pair:
    """A comparison to make: two entries of a list of answers, with what to call them."""

    first: int
    second: int
    names: tuple[str, str]
    labels: int
    probe: str


def score(
    answers: Sequence[tuple[str, Answers]], pairs: Sequence[Pair], test_size: int, seed: int
) -> tuple[list[tuple[Score, ...]], tuple[Comparison, ...]]:
    """Scores with their intervals, and the comparisons.

    Shares get Wilson intervals for the test samples of one seed: several seeds on one test set do not make it larger. R2,
    MAE and all differences get intervals of a bootstrap over test samples.

    Args:
        answers: names of probes and what they answered, all on the same samples.
        pairs: which of them to compare.
        test_size: test samples of one seed.
        seed: of the bootstrap.

    Returns:
        for each of ``answers`` one score (classes) or two (R2, MAE); and for each pair a comparison.
    """
    regress = answers[0][1].labels.dtype.kind == "f"
    main = "r2" if regress else "accuracy"
    metrics = ("r2", "mae") if regress else ("accuracy",)
    drawn: dict[str, np.ndarray] = {}
    if regress or pairs:
        entries = [(given.tally, metric) for metric in metrics for _, given in answers]
        parts = bootstrap(entries, seed).reshape(len(metrics), len(answers), -1)
        drawn = dict(zip(metrics, parts, strict=True))
    scores = []
    for i, (probe, given) in enumerate(answers):
        found = []
        for metric, values in given.values.items():
            interval = middle(drawn[metric][i]) if regress else wilson(float(np.mean(values)), test_size)
            found.append(Score(probe, metric, tuple(values), interval))
        scores.append(tuple(found))
    differences = [drawn[main][pair.first] - drawn[main][pair.second] for pair in pairs]
    corrected = holm([two_sided(each) for each in differences])
    comparisons = [
        Comparison(
            *pair.names,
            pair.labels,
            pair.probe,
            main,
            float(
                np.mean(answers[pair.first][1].values[main]) - np.mean(answers[pair.second][1].values[main])
            ),
            middle(difference),
            p,
            p < NOISE,
        )
        for pair, difference, p in zip(pairs, differences, corrected, strict=True)
    ]
    return scores, tuple(comparisons)


def constant(task: str, truth: Labels) -> float:
    """What a constant answer scores: the share of the most frequent class, or the R2 of the mean."""
    if task == REGRESS:
        return 0.0
    return float(np.unique(truth, return_counts=True)[1].max() / len(truth))

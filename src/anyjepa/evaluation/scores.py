"""One score, one row of scores, and the difference of two rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TITLES = {
    "knn": "kNN",
    "linear": "linear",
    "ridge": "ridge",
    "attentive": "attentive",
    "finetune": "fine-tuned",
}
METRICS = {"accuracy": "%", "r2": "R2", "mae": "MAE"}


@dataclass(frozen=True)
class Score:
    """What one probe scored on one kind of features."""

    probe: str
    """``"knn"``, ``"linear"``, ``"ridge"``, ``"attentive"`` or ``"finetune"``."""
    metric: str
    """``"accuracy"`` (a share, 0..1), ``"r2"`` or ``"mae"`` (in units of the labels)."""
    values: tuple[float, ...]
    """One for each seed."""
    interval: tuple[float, float]
    """Where the mean lies at 95 % for other test samples of the same kind."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Row:
    """Scores of one kind of features with one number of labels."""

    features: str
    """``"pretrained"``, or the name of a baseline."""
    labels: int
    """Training labels used."""
    dims: int
    """Values per image."""
    run: str = ""
    """The run they are of; empty for raw pixels."""
    encoder: str = ""
    """The encoder that was read; empty for raw pixels."""
    scores: tuple[Score, ...] = ()
    """Scores of the probes; a probe that these features do not allow is absent."""

    def score(self, probe: str, metric: str | None = None) -> Score:
        """The score of a probe; ``metric`` None: its first, accuracy or R2.

        Raises:
            KeyError: the probe was not run on these features.
        """
        for score in self.scores:
            if score.probe == probe and metric in (None, score.metric):
                return score
        raise KeyError(
            f"no {probe} score of '{self.features}': there are {', '.join(s.probe for s in self.scores)}"
        )

    @property
    def knn(self) -> tuple[float, ...]:
        """Accuracy (or R2) of the nearest neighbours for each seed."""
        return self.score("knn").values

    @property
    def linear(self) -> tuple[float, ...]:
        """Accuracy of the linear probe for each seed."""
        return self.score("linear").values


@dataclass(frozen=True)
class Comparison:
    """Two rows scored on the same test samples."""

    first: str
    """Name of the first row."""
    second: str
    """Name of the second."""
    labels: int
    """Training labels used by both."""
    probe: str
    """The probe."""
    metric: str
    """Its metric."""
    difference: float
    """Score of the first less that of the second, mean over the seeds."""
    interval: tuple[float, float]
    """95 % interval of the difference, by a paired bootstrap over test samples."""
    p: float
    """Two-sided p value of the same bootstrap, corrected for the number of comparisons (Holm)."""
    exceeds_noise: bool
    """Whether p is below 0.05."""

    def __str__(self) -> str:
        scale, unit = (100, " points") if self.metric == "accuracy" else (1, f" {METRICS[self.metric]}")
        low, high = sorted(scale * end for end in self.interval)
        verdict = "exceeds the noise" if self.exceeds_noise else "within the noise"
        digits = 1 if self.metric == "accuracy" else 3
        return (
            f"{self.first} - {self.second}, {TITLES[self.probe]}, {self.labels} labels: {scale * self.difference:+.{digits}f}"
            f"{unit} [{low:+.{digits}f}, {high:+.{digits}f}], p {_p(self.p)}: {verdict}"
        )


def spread(values: tuple[float, ...] | list[float]) -> float | None:
    """Sample standard deviation; None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def cell(score: Score | None) -> str:
    """A score as text: mean ± spread over seeds, and the interval; a dash where there is none."""
    if score is None:
        return "-"
    share = score.metric == "accuracy"
    scale, form = (100, ".1f") if share else (1, ".3f" if score.metric == "r2" else ".4g")
    deviation = spread(score.values)
    around = "" if deviation is None else f" ± {scale * deviation:{form}}"
    low, high = (format(scale * end, form) for end in score.interval)
    return f"{scale * score.mean:{form}}{around} [{low}, {high}]"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"

"""The doctor: from the statistics of a run to a verdict in plain words, with its evidence and what to do.

Nothing here looks at the loss alone: under a moving target or a regularizer it falls in runs that collapse and rises in runs
that learn. The thresholds were set on runs whose state was known by construction and by probes; the table of all of them is in
``docs/doctor.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from anyjepa.config import from_dict
from anyjepa.errors import ConfigError
from anyjepa.monitoring.advice import advise
from anyjepa.schedules import OptimConfig

Row = Mapping[str, Any]
"""One line of the log; what is not finite is None."""

HEALTHY = "healthy"
COMPLETE = "complete collapse"
DIMENSIONAL = "dimensional collapse"
NOT_LEARNING = "not learning"
DIVERGED = "diverged"
TOO_EARLY = "too early to say"
VERDICTS = (HEALTHY, COMPLETE, DIMENSIONAL, NOT_LEARNING, DIVERGED, TOO_EARLY)
COLLAPSED = (COMPLETE, DIMENSIONAL)

EARLIEST = 50
"""Steps before which nothing but divergence is called: every run begins with a dip."""
PATIENCE = 200
"""Steps before which nobody is called not learning, or the warm-up if it is longer: prediction starts late in good runs too."""
WINDOW = 3
"""Rows whose median is looked at."""
EARLY_ROWS = 6
"""First rows that later gradients are compared with."""

ALIKE = 0.98
"""Mean cosine of different samples at the same place from which they count as one, if the content has ``SHRUNK`` as well: under
a large common offset all cosines are near 1."""
SHRUNK = 0.5
"""Standard deviation of the content over that of the first row, for ``ALIKE``."""
LEAST_CONTENT = 0.01
"""Share of the variance that must be between samples, not between places."""
LEAST_STD = 0.02
"""Standard deviation of the content over that of the first row."""
LEAST_RANK = 4.0
"""A rank below this is a collapse, whatever it was at the start."""
SAME_FEATURES = 0.9
"""Root mean square correlation from which features are copies of each other."""
LOST_RANK = 0.45
"""Share of the first row's pooled rank below which directions have been lost, if features have also grown alike."""
GROWN_ALIKE = 0.1
"""Rise of the correlation between features since the first row from which they have grown alike."""
LEAST_GRADIENT = 1e-8
"""Gradient norm below which nothing moves."""
LEAST_MATCH = 0.05
"""Correlation of predicted and true content from which predictions know their sample."""
EXPLODED = 100.0
"""Gradient norm over its early median from which a run has diverged, if its loss has risen as well."""


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says.

    Attributes:
        verdict: one of :data:`VERDICTS`.
        step: the step from which on it has held.
        last: the newest step looked at.
        evidence: the numbers behind it, in words.
        advice: what to change, with the keys of the config; empty for a healthy run.
    """

    verdict: str
    step: int
    last: int
    evidence: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def __str__(self) -> str:
        since = f"since step {self.step}, " if self.step < self.last else ""
        lines = [f"{self.verdict.upper()} ({since}looked at up to step {self.last})"]
        lines += [f"  {line}" for line in self.evidence]
        lines += [f"  -> {line}" for line in self.advice]
        return "\n".join(lines)


def diagnose(rows: Sequence[Row], config: Mapping[str, Any] | None = None) -> Diagnosis:
    """The verdict on a run.

    Args:
        rows: lines of its log from the first step on.
        config: plain config of the run, for the length of its warm-up and to name the keys that can be changed.
    """
    doctor = Doctor(config)
    for row in rows:
        doctor.see(row)
    return doctor.diagnosis()


class Doctor:
    """Judges a run line by line. What it says is a function of the lines seen and the config alone.

    Args:
        config: plain config of the run.

    Attributes:
        verdict: that of the newest line.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.verdict = TOO_EARLY
        self._config = config or {}
        self._patience = max(PATIENCE, warmup(self._config))
        self._evidence: list[str] = ["nothing has been logged yet"]
        self._first: Row = {}
        self._norms: list[float] = []
        self._last: list[Row] = []
        self._spike: Row | None = None
        self._since = self._step = self._count = 0

    def see(self, row: Row) -> str:
        """Take the next line; returns the verdict."""
        self._count += 1
        self._step = int(row["step"])
        self._first = self._first or row
        self._last = [*self._last[1 - WINDOW :], row]
        norm = number(row, "gradient_norm")
        if norm is not None and len(self._norms) < EARLY_ROWS:
            self._norms.append(norm)
        if self._exploded(row):
            self._spike = row
        before = self.verdict
        self.verdict, self._evidence = self._judge(row)
        if self.verdict == HEALTHY and all(line is not self._spike for line in self._last):
            self._spike = None  # it has healed, and not only in the median of a window that is older than it
        if self.verdict != before or self._count == 1:
            self._since = self._step
        return self.verdict

    def diagnosis(self) -> Diagnosis:
        """The verdict with its evidence and advice."""
        advice = advise(self.verdict, self._config)
        return Diagnosis(self.verdict, self._since, self._step, tuple(self._evidence), advice)

    def _judge(self, row: Row) -> tuple[str, list[str]]:
        if number(row, "loss") is None:
            return DIVERGED, [f"the loss is not finite at step {self._step}"]
        if self._spike is row:
            return DIVERGED, [self._blast(row)]
        seen = [who for who in ("target", "context") if number(row, f"{who}_std") is not None]
        if not seen:
            return TOO_EARLY, [
                "there are no statistics: no representations in the output, or fewer than 8 samples at once"
            ]
        if self._step < EARLIEST or self._count < WINDOW:
            return TOO_EARLY, [
                f"{self._count} lines up to step {self._step}: before step {EARLIEST} every run looks alike"
            ]
        found = self._complete(seen) or self._dimensional(seen)
        if found and self._spike is not None:
            return DIVERGED, [self._blast(self._spike), *found[1]]
        return found or self._prediction() or (HEALTHY, self._well(seen))

    def _now(self, name: str) -> float | None:
        """Median of the newest lines, or None where they do not have it."""
        values = [value for row in self._last if (value := number(row, name)) is not None]
        return median(values) if values else None

    def _both(self, who: str, *names: str) -> list[tuple[float, float]] | None:
        """(now, at the start) of some statistics; None when one of them is missing."""
        pairs = [(self._now(f"{who}_{name}"), number(self._first, f"{who}_{name}")) for name in names]
        return None if any(None in pair for pair in pairs) else pairs  # type: ignore[return-value]

    def _exploded(self, row: Row) -> bool:
        """Whether gradient and loss are far above those of the first lines."""
        norm, loss, first = number(row, "gradient_norm"), number(row, "loss"), number(self._first, "loss")
        if norm is None or loss is None or first is None or not self._norms:
            return False
        usual = min(median(self._norms), self._norms[0])
        return norm > EXPLODED * usual and loss > 10 * abs(first)

    def _blast(self, row: Row) -> str:
        return (
            f"at step {int(row['step'])} the gradient norm was {row['gradient_norm']:.3g} and the loss {row['loss']:.3g}; "
            f"they began at {self._norms[0]:.3g} and {self._first['loss']:.3g}"
        )

    def _complete(self, seen: Sequence[str]) -> tuple[str, list[str]] | None:
        """All of the representations must be gone: context representations alone dip early in many good runs."""
        evidence = []
        for who in seen:
            pairs = self._both(who, "cosine", "content", "std")
            if pairs is None:
                return None
            (cosine, _), (content, _), (std, first) = pairs
            if cosine > ALIKE and std < SHRUNK * first:
                evidence.append(
                    f"{who} representations of different samples are the same: their mean cosine is {cosine:.3f}"
                )
            elif content < LEAST_CONTENT:
                evidence.append(
                    f"{who} representations tell where a token lies and no more: {content:.1%} of their variance is between "
                    f"samples"
                )
            elif std < LEAST_STD * first:
                evidence.append(
                    f"{who} representations have shrunk to a point: standard deviation {std:.2g}, {first:.2g} at the start"
                )
            else:
                return None
        return COMPLETE, evidence

    def _dimensional(self, seen: Sequence[str]) -> tuple[str, list[str]] | None:
        """One of the representations is narrow, or all have lost directions: a projector alone loses some in good runs."""
        samples, at_first = self._now("samples") or math.inf, number(self._first, "samples") or math.inf
        narrow, lost = [], []
        for who in seen:
            pairs = self._both(who, "rank", "pooled_rank", "correlation")
            if pairs is None:
                return None
            (rank, _), (pooled, pooled_0), (correlation, correlation_0) = pairs
            # Ranks of few samples are small, and those of different numbers of samples cannot be compared.
            if rank < min(LEAST_RANK, (samples - 1) / 2) or correlation > SAME_FEATURES:
                narrow.append(who)
            if (
                samples == at_first
                and pooled < LOST_RANK * pooled_0
                and correlation > correlation_0 + GROWN_ALIKE
            ):
                lost.append(who)
        told = narrow or (lost if len(lost) == len(seen) else [])
        return (DIMENSIONAL, [line for who in told for line in self._directions(who)]) if told else None

    def _directions(self, who: str) -> list[str]:
        (rank, rank_0), (pooled, pooled_0), (correlation, correlation_0) = (
            self._both(who, "rank", "pooled_rank", "correlation") or []
        )
        return [
            f"{who} representations use few directions: rank {rank:.1f} of single tokens and {pooled:.1f} of whole samples, "
            f"{rank_0:.1f} and {pooled_0:.1f} at the start",
            f"their features say the same: correlation {correlation:.2f}, {correlation_0:.2f} at the start",
        ]

    def _prediction(self) -> tuple[str, list[str]] | None:
        """Whether predictions fail to know their sample."""
        norm, match = self._now("gradient_norm"), self._now("prediction_match")
        if norm is not None and norm < LEAST_GRADIENT:
            return NOT_LEARNING, [f"no gradient reaches the weights: its norm is {norm:.1g}"]
        if match is None or match >= LEAST_MATCH:
            return None
        evidence = [
            f"predictions do not know their sample: they match the targets' content by {match:.2f}; chance is 0, perfect 1"
        ]
        if self._step < self._patience:
            return TOO_EARLY, [*evidence, f"in good runs too this may last until step {self._patience}"]
        return NOT_LEARNING, evidence

    def _well(self, seen: Sequence[str]) -> list[str]:
        evidence = []
        for who in seen:
            pairs = self._both(who, "rank", "pooled_rank", "content")
            if pairs is not None:
                (rank, rank_0), (pooled, pooled_0), (content, _) = pairs
                evidence.append(
                    f"{who} representations: rank {rank:.1f} of single tokens and {pooled:.1f} of whole samples "
                    f"({rank_0:.1f} and {pooled_0:.1f} at the start); {content:.0%} of their variance is between samples"
                )
        match, gain = self._now("prediction_match"), self._now("prediction_gain")
        if match is not None and gain is not None:
            evidence.append(
                f"predictions know their sample: they match the targets' content by {match:.2f} (gain {gain:+.2f})"
            )
        return evidence


def number(row: Row, name: str) -> float | None:
    """A number of a line; None where it is missing or not finite."""
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def warmup(config: Mapping[str, Any]) -> int:
    """Warm-up steps of a plain config; 0 where it does not tell."""
    try:
        return from_dict(OptimConfig, dict(config["model"]["optim"])).warmup
    except (KeyError, TypeError, ConfigError):
        return 0

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

from anyjepa.monitoring.advice import advise

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
WINDOW = 3
"""Rows whose median is looked at."""
EARLY_ROWS = 6
"""First rows that later gradients are compared with."""

ALIKE = 0.98
"""Mean cosine of different samples at the same place from which they count as one: complete collapse."""
LEAST_CONTENT = 0.01
"""Share of the variance that must be between samples, not between places."""
LEAST_STD = 0.02
"""Standard deviation of the content over that of the first row."""
LEAST_RANK = 4.0
"""A rank below this is a collapse, whatever it was at the start."""
LOST_RANK = 0.5
"""Share of the first row's rank below which directions have been lost, if the features are also ``CORRELATED``."""
CORRELATED = 0.6
"""Root mean square correlation between features from which they say nearly the same."""
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
        config: plain config of the run, to name the keys that can be changed.
    """
    if not rows:
        return Diagnosis(TOO_EARLY, 0, 0, ("nothing has been logged yet",))
    verdict, evidence = judge(rows)
    since = len(rows)
    while since > 1 and judge(rows[: since - 1])[0] == verdict:
        since -= 1
    step, last = int(rows[since - 1]["step"]), int(rows[-1]["step"])
    return Diagnosis(verdict, step, last, tuple(evidence), advise(verdict, config or {}))


def judge(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """Verdict and evidence at the last of ``rows``."""
    exploded = _diverged(rows)
    if exploded:
        return DIVERGED, [exploded]
    step = int(rows[-1]["step"])
    if "target_std" not in rows[-1] and "context_std" not in rows[-1]:
        return TOO_EARLY, ["this method puts no representations into its output: only divergence can be seen"]
    if step < EARLIEST or len(rows) < WINDOW:
        return TOO_EARLY, [f"step {step}: before step {EARLIEST} every run looks alike"]
    for who in ("target", "context"):
        if f"{who}_std" in rows[-1]:
            found = _collapsed(rows, who)
            if found:
                return found
    unmoved = _unmoved(rows)
    if unmoved:
        return NOT_LEARNING, [unmoved]
    match = _now(rows, "prediction_match")
    if match is not None and match < LEAST_MATCH:
        text = f"predictions do not know their sample: they match the targets' content by {match:.2f}, chance is 0"
        return (NOT_LEARNING if step >= 2 * EARLIEST else TOO_EARLY), [text]
    return HEALTHY, _well(rows)


def _now(rows: Sequence[Row], name: str) -> float | None:
    """Median of the last rows, or None where the run does not have it."""
    values = [row[name] for row in rows[-WINDOW:] if row.get(name) is not None]
    return median(values) if values else None


def _diverged(rows: Sequence[Row]) -> str | None:
    last = rows[-1]
    if last.get("loss") is None or not math.isfinite(last["loss"]):
        return f"the loss is not finite at step {int(last['step'])}"
    early = [row for row in rows[:EARLY_ROWS] if row.get("gradient_norm") is not None]
    norm, loss = _now(rows, "gradient_norm"), _now(rows, "loss")
    if norm is None or loss is None or len(rows) <= EARLY_ROWS or not early:
        return None
    usual, first = median(row["gradient_norm"] for row in early), max(row["loss"] for row in early)
    if norm > EXPLODED * usual and loss > 2 * abs(first):
        return f"the gradient norm is {norm:.3g}, {norm / usual:.0f} times its early value, and the loss rose from {first:.3g} to {loss:.3g}"
    return None


def _collapsed(rows: Sequence[Row], who: str) -> tuple[str, list[str]] | None:
    cosine, content, std, rank, correlation = (
        _now(rows, f"{who}_{name}") or 0.0 for name in ("cosine", "content", "std", "rank", "correlation")
    )
    first = rows[0]
    told = f"{who} representations"
    if cosine > ALIKE:
        return COMPLETE, [f"{told} of different samples are the same: their mean cosine is {cosine:.3f}"]
    if content < LEAST_CONTENT:
        return COMPLETE, [
            f"{told} tell where a token lies and no more: {content:.1%} of their variance is between samples"
        ]
    if std < LEAST_STD * (first.get(f"{who}_std") or 0.0):
        return COMPLETE, [
            f"{told} have shrunk to a point: their standard deviation fell from {first[f'{who}_std']:.3g} to {std:.2g}"
        ]
    began = first.get(f"{who}_rank") or rank
    lost = rank < LOST_RANK * began and correlation > CORRELATED
    if rank < LEAST_RANK or lost:
        return DIMENSIONAL, [
            f"{told} use few directions: rank {rank:.1f}, {began:.1f} at the start",
            f"their features say the same: mean correlation {correlation:.2f}, {first.get(f'{who}_correlation') or 0:.2f} at the start",
        ]
    return None


def _unmoved(rows: Sequence[Row]) -> str | None:
    """Evidence that the weights do not move."""
    norm = _now(rows, "gradient_norm")
    if norm is not None and norm < 1e-8:
        return f"no gradient reaches the weights: its norm is {norm:.1g}"
    return None


def _well(rows: Sequence[Row]) -> list[str]:
    first, found = rows[0], []
    for who in ("target", "context"):
        rank, content = _now(rows, f"{who}_rank"), _now(rows, f"{who}_content")
        if rank is not None and content is not None:
            found.append(
                f"{who} representations: rank {rank:.1f} ({first.get(f'{who}_rank') or rank:.1f} at the start), "
                f"{content:.0%} of their variance is between samples"
            )
    match, gain = _now(rows, "prediction_match"), _now(rows, "prediction_gain")
    if match is not None and gain is not None:
        found.append(f"predictions know their sample: they match the targets' content by {match:.2f} (gain {gain:+.2f})")
    return found

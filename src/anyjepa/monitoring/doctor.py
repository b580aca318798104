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
SAME_FEATURES = 0.9
"""Root mean square correlation from which features are copies of each other."""
LOST_RANK = 0.5
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
    last = rows[-1]
    if last.get("loss") is None or not math.isfinite(last["loss"]):
        return DIVERGED, [f"the loss is not finite at step {int(last['step'])}"]
    exploded = _exploded(rows)
    if exploded and exploded["step"] == last["step"]:
        return DIVERGED, [_blast(rows, exploded)]
    step, seen = int(last["step"]), [who for who in ("target", "context") if f"{who}_std" in last]
    if not seen:
        return TOO_EARLY, ["this method puts no representations into its output: only divergence can be seen"]
    if step < EARLIEST or len(rows) < WINDOW:
        return TOO_EARLY, [f"step {step}: before step {EARLIEST} every run looks alike"]
    found = _complete(rows, seen) or _dimensional(rows, seen)
    if found and exploded:
        return DIVERGED, [_blast(rows, exploded), *found[1]]
    return found or _prediction(rows, step) or (HEALTHY, _well(rows, seen))


def _now(rows: Sequence[Row], name: str) -> float | None:
    """Median of the last rows, or None where the run does not have it."""
    values = [row[name] for row in rows[-WINDOW:] if row.get(name) is not None]
    return median(values) if values else None


def _exploded(rows: Sequence[Row]) -> Row | None:
    """The newest row whose gradient and loss are far above those of the first rows."""
    norms = [row["gradient_norm"] for row in rows[:EARLY_ROWS] if row.get("gradient_norm") is not None]
    if not norms:
        return None
    usual, first = median(norms), abs(rows[0]["loss"] or 0.0)
    for row in reversed(rows):
        norm, loss = row.get("gradient_norm"), row.get("loss")
        if (
            norm is not None
            and loss is not None
            and norm > EXPLODED * min(usual, norms[0])
            and loss > 10 * first
        ):
            return row
    return None


def _blast(rows: Sequence[Row], row: Row) -> str:
    return (
        f"at step {int(row['step'])} the gradient norm was {row['gradient_norm']:.3g} and the loss {row['loss']:.3g}; "
        f"they began at {rows[0]['gradient_norm']:.3g} and {rows[0]['loss']:.3g}"
    )


def _complete(rows: Sequence[Row], seen: Sequence[str]) -> tuple[str, list[str]] | None:
    """All of the representations must be gone: context representations alone dip early in many good runs."""
    found = []
    for who in seen:
        cosine, content, std = (_now(rows, f"{who}_{name}") or 0.0 for name in ("cosine", "content", "std"))
        first = rows[0].get(f"{who}_std") or 0.0
        if cosine > ALIKE:
            found.append(
                f"{who} representations of different samples are the same: their mean cosine is {cosine:.3f}"
            )
        elif content < LEAST_CONTENT:
            found.append(
                f"{who} representations tell where a token lies and no more: {content:.1%} of their variance is between samples"
            )
        elif std < LEAST_STD * first:
            found.append(
                f"{who} representations have shrunk to a point: standard deviation {std:.2g}, {first:.2g} at the start"
            )
        else:
            return None
    return COMPLETE, found


def _dimensional(rows: Sequence[Row], seen: Sequence[str]) -> tuple[str, list[str]] | None:
    for who in seen:
        now = {name: _now(rows, f"{who}_{name}") or 0.0 for name in ("rank", "pooled_rank", "correlation")}
        first = {name: rows[0].get(f"{who}_{name}") or 0.0 for name in now}
        lost = (
            now["pooled_rank"] < LOST_RANK * first["pooled_rank"]
            and now["correlation"] > first["correlation"] + GROWN_ALIKE
        )
        if now["rank"] < LEAST_RANK or now["correlation"] > SAME_FEATURES or lost:
            return DIMENSIONAL, [
                f"{who} representations use few directions: rank {now['rank']:.1f} of single tokens and "
                f"{now['pooled_rank']:.1f} of whole samples, {first['rank']:.1f} and {first['pooled_rank']:.1f} at the start",
                f"their features say the same: correlation {now['correlation']:.2f}, {first['correlation']:.2f} at the start",
            ]
    return None


def _prediction(rows: Sequence[Row], step: int) -> tuple[str, list[str]] | None:
    """Whether predictions fail to know their sample."""
    norm, match = _now(rows, "gradient_norm"), _now(rows, "prediction_match")
    if norm is not None and norm < LEAST_GRADIENT:
        return NOT_LEARNING, [f"no gradient reaches the weights: its norm is {norm:.1g}"]
    if match is None or match >= LEAST_MATCH:
        return None
    evidence = [
        f"predictions do not know their sample: they match the targets' content by {match:.2f}; chance is 0, perfect 1"
    ]
    return (NOT_LEARNING if step >= 2 * EARLIEST else TOO_EARLY), evidence


def _well(rows: Sequence[Row], seen: Sequence[str]) -> list[str]:
    found = []
    for who in seen:
        rank, pooled, content = (
            _now(rows, f"{who}_{name}") or 0.0 for name in ("rank", "pooled_rank", "content")
        )
        found.append(
            f"{who} representations: rank {rank:.1f} of single tokens and {pooled:.1f} of whole samples "
            f"({rows[0].get(f'{who}_rank') or 0:.1f} and {rows[0].get(f'{who}_pooled_rank') or 0:.1f} at the start); "
            f"{content:.0%} of their variance is between samples"
        )
    match, gain = _now(rows, "prediction_match"), _now(rows, "prediction_gain")
    if match is not None and gain is not None:
        found.append(
            f"predictions know their sample: they match the targets' content by {match:.2f} (gain {gain:+.2f})"
        )
    return found

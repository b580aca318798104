"""Curves of the log as SVG coordinates, thinned so that a page stays small however long the log is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anyjepa.monitoring.doctor import Row, number

WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
"""Size of a chart and of the margins around its plot, in units of its view box."""

BUCKETS = 200
"""Stretches a long curve is cut into; the smallest and the largest value of each are kept, so that no spike is lost."""
LOG_FROM = 40.0
"""Largest over smallest value from which a chart of positive values gets a logarithmic axis."""
CUT = {"Prediction": -1.0}
"""Values below this are drawn on it: early steps would squeeze all later ones into a line."""
MOST_OTHERS = 6
"""Numbers without a chart of their own that are drawn, one chart each."""

BOOKKEEPING = {"step", "seconds", "samples", "weight_decay", "target_content", "context_content"}


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        label: its name in the log.
        path: SVG path.
        steps: steps of the points that are drawn.
        values: their values.
        first: value of the first line of the log that has one; likewise ``least``, ``most`` and ``last``.
    """

    label: str
    path: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    first: str
    least: str
    most: str
    last: str


@dataclass(frozen=True)
class Chart:
    """A titled chart; ticks are (position, text)."""

    title: str
    note: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    logarithmic: bool
    mark: float | None
    data: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def alt(self) -> str:
        """The chart in words."""
        return f"{self.title} over the steps: " + "; ".join(
            f"{s.label} from {s.first} to {s.last}, between {s.least} and {s.most}" for s in self.series
        )


NAMED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Prediction",
        "How much of what is special to a sample is predicted: 0 is chance, 1 perfect. Should rise. Cut off below -1.",
        ("prediction_match", "prediction_gain"),
    ),
    (
        "Rank",
        "Directions in use, for single tokens and for whole (pooled) samples. Should stay or grow.",
        ("target_rank", "target_pooled_rank", "context_rank", "context_pooled_rank"),
    ),
    (
        "Spread",
        "Standard deviation between samples. Falling to nothing is a collapse.",
        ("target_std", "context_std"),
    ),
    (
        "Cosine",
        "How alike different samples are. Near 1 they cannot be told apart.",
        ("target_cosine", "context_cosine"),
    ),
    (
        "Correlation",
        "How alike different features are. Near 1 they are copies of each other.",
        ("target_correlation", "context_correlation"),
    ),
    (
        "Online probe",
        "Accuracy on labelled data while training: the number that matters most.",
        ("probe_linear", "probe_knn"),
    ),
    (
        "Gradient norm",
        "Spikes that do not come down, or a flat zero, are bad signs.",
        ("gradient_norm",),
    ),
    ("Learning rate", "As scheduled: warm-up, then decay.", ("lr",)),
    ("Speed", "Samples per second.", ("samples_per_second",)),
)


def charts(rows: Sequence[Row], mark: int | None = None) -> list[Chart]:
    """The charts of a log; numbers that are not in it have none.

    Args:
        rows: its lines.
        mark: a step to mark on every chart.
    """
    columns = _columns(rows)
    parts = _parts(rows, columns)
    wanted = [
        ("Loss", "What is minimised. Alone it does not tell whether anything is learned.", ("loss", *parts))
    ]
    wanted += NAMED
    known = BOOKKEEPING.union(*(names for _, _, names in wanted))
    others = [name for name in columns if name not in known][:MOST_OTHERS]
    wanted += [(name, "", (name,)) for name in others]
    span = (_step(rows[0]), _step(rows[-1])) if rows else (0, 1)
    drawn = []
    for title, note, names in wanted:
        present = {name: columns[name] for name in names if name in columns}
        if present:
            drawn.append(_chart(title, note, present, span, mark))
    return drawn


def _step(row: Row) -> int:
    return int(row["step"])


Column = tuple[np.ndarray, np.ndarray]


def _columns(rows: Sequence[Row]) -> dict[str, Column]:
    """Steps and values of every number that is finite at least once; where it was not finite it is NaN."""
    steps: dict[str, list[int]] = {}
    values: dict[str, list[float]] = {}
    for row in rows:
        step = _step(row)
        for name in row:
            value = number(row, name)
            steps.setdefault(name, []).append(step)
            values.setdefault(name, []).append(math.nan if value is None else value)
    found = {name: (np.array(steps[name]), np.array(values[name])) for name in values}
    return {name: column for name, column in found.items() if np.isfinite(column[1]).any()}


def _parts(rows: Sequence[Row], columns: Mapping[str, Column]) -> list[str]:
    """The named parts of the loss: what stands between the loss and the first number that is known otherwise."""
    known = BOOKKEEPING.union(*(names for _, _, names in NAMED))
    names = list(rows[0]) if rows else []
    found = []
    for name in names[names.index("loss") + 1 :] if "loss" in names else []:
        if name in known:
            break
        found.append(name)
    return [name for name in found if name in columns]


def thin(steps: np.ndarray, values: np.ndarray, buckets: int = BUCKETS) -> np.ndarray:
    """Positions to keep: the smallest and the largest value of each stretch, all gaps' edges, both ends; ascending."""
    n = len(values)
    if n <= 2 * buckets:
        return np.arange(n)
    keep = {0, n - 1}
    for part in np.array_split(np.arange(n), buckets):
        finite = part[np.isfinite(values[part])]
        if len(finite) < len(part):
            keep.add(int(part[~np.isfinite(values[part])][0]))
        if len(finite):
            keep |= {int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])}
    return np.array(sorted(keep))


def _chart(
    title: str, note: str, columns: Mapping[str, Column], span: tuple[int, int], mark: int | None
) -> Chart:
    everything = np.concatenate([v[np.isfinite(v)] for _, v in columns.values()])
    low, high = float(everything.min()), float(everything.max())
    low = max(low, CUT.get(title, -math.inf))
    logarithmic = low > 0 and high / low > LOG_FROM
    y_ticks = _powers(low, high) if logarithmic else _nice(low, high)
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    else:
        low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])
    if not high > low:
        low, high = low - 0.5, high + 0.5

    def x(step: float) -> float:
        return LEFT + (step - span[0]) / max(1, span[1] - span[0]) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        value = max(low, math.log10(value) if logarithmic else value)
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    drawn = []
    for name, (steps, values) in columns.items():
        keep = thin(steps, values)
        path, pen = [], "M"
        for step, value in zip(steps[keep].tolist(), values[keep].tolist(), strict=True):
            if not math.isfinite(value):
                pen = "M"
                continue
            # A line of no length makes a dot of a point that stands alone.
            path.append(f"{pen}{x(step):.1f} {y(value):.1f}" + ("h0" if pen == "M" else ""))
            pen = "L"
        finite = values[np.isfinite(values)]
        shown = [i for i in keep.tolist() if math.isfinite(values[i])]
        drawn.append(
            Series(
                label=name,
                path="".join(path),
                steps=tuple(int(steps[i]) for i in shown),
                values=tuple(float(f"{values[i]:.4g}") for i in shown),
                first=text(float(finite[0])),
                least=text(float(finite.min())),
                most=text(float(finite.max())),
                last=text(float(finite[-1])),
            )
        )
    return Chart(
        title=title,
        note=note,
        series=tuple(drawn),
        x_ticks=tuple(
            (x(t), f"{t:,.0f}") for t in _nice(*span, count=4) if span[0] <= t <= span[1] and t == int(t)
        ),
        y_ticks=tuple((y(t), text(t)) for t in y_ticks),
        logarithmic=logarithmic,
        mark=x(mark) if mark is not None and span[0] <= mark <= span[1] else None,
        data=json.dumps(
            {
                "from": span[0],
                "to": span[1],
                "series": [{"steps": s.steps, "values": s.values} for s in drawn],
            },
            separators=(",", ":"),
        ),
    )


def _nice(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from just below ``low`` to just above ``high``."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
    return [step * i for i in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within the range; powers of ten alone where those are many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, len(exponents) // 6)
    digits = (1, 2, 5) if len(exponents) < 4 else (1,)
    return [m * 10.0**e for e in exponents[::every] for m in digits if low <= m * 10.0**e <= high]


def text(value: float) -> str:
    """A number in few digits."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"

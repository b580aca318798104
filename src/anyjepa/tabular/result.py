"""What a comparison of models found: the table, and what it says in words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anyjepa.evaluation.scores import spread
from anyjepa.tabular.settings import BOOSTING

NAMES = {
    "mlp": "MLP",
    "resnet": "ResNet",
    "dcnv2": "DCNv2",
    "ft-transformer": "FT-Transformer",
    "autoint": "AutoInt",
    "xgboost": "XGBoost",
    "catboost": "CatBoost",
}
"""Models as people write them."""
COLUMNS, TOKENS, UNTRAINED = "columns", "T-JEPA", "untrained T-JEPA"
"""What a model was given: the raw columns, the encoder's tokens, or those of the same encoder with fresh weights."""
FORMS = {
    "accuracy": (100, ".1f", "accuracy %"),
    "macro_f1": (100, ".1f", "macro F1 %"),
    "rmse": (1, ".3f", "RMSE"),
}
"""For each metric its scale, format and title."""
CLEAR = 2.0
"""Standard errors above which a difference is called clear."""


@dataclass(frozen=True)
class ModelRow:
    """One model on one kind of input with one number of labels, tuned."""

    model: str
    """Its name."""
    features: str
    """``"columns"``, ``"T-JEPA"`` or ``"untrained T-JEPA"``."""
    labels: int
    """Labelled training rows, the fifth for validation included."""
    scores: Mapping[str, tuple[float, ...]]
    """On the test rows by metric, one for each seed: ``accuracy`` and ``macro_f1``, or ``rmse``."""
    settings: Mapping[str, Any]
    """The best of the trials."""
    valid: float | None
    """Their score on the validation rows: accuracy, or minus the RMSE; None: they were given."""
    trials: int
    """Fits of the random search."""
    cut: int
    """Fits, of trials and seeds, that the time limit ended."""
    seconds: float
    """Processor time of all fits."""

    @property
    def name(self) -> str:
        """The row in words."""
        return f"{NAMES[self.model]} on {self.features}"

    def mean(self, metric: str) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.scores[metric]))


@dataclass(frozen=True)
class Difference:
    """One row against another with as many labels, on the same test rows."""

    first: str
    """The row in words."""
    second: str
    """The other."""
    labels: int
    """Labels of both."""
    metric: str
    """``accuracy`` or ``rmse``."""
    gain: float
    """By how much the first is better: its accuracy less the other's, or the other's RMSE less its own."""
    error: float
    """Standard error of that, of the seeds and of the choice of test rows together."""

    @property
    def clear(self) -> bool:
        """Whether it is beyond two standard errors."""
        return abs(self.gain) > CLEAR * self.error

    def __str__(self) -> str:
        scale, unit = (100, " points") if self.metric == "accuracy" else (1, "")
        form = ".1f" if self.metric == "accuracy" else ".3f"
        verb = "beats" if self.gain > 0 else "is beaten by"
        if not self.clear:
            verb = "is within the noise of"
        gain, error = format(scale * self.gain, f"+{form}"), format(scale * CLEAR * self.error, form)
        return f"{self.first} {verb} {self.second}: {gain} ± {error}{unit}"


@dataclass(frozen=True)
class ModelsResult:
    """The whole comparison. ``str()`` of it is for people, :meth:`to_json` for machines."""

    run: str
    """Where the encoder is from."""
    task: str
    """``"classify"`` or ``"regress"``."""
    train: str
    """Where the training rows are from."""
    test: str
    """Where the test rows are from."""
    test_size: int
    """Test rows."""
    chance: float
    """Accuracy of the most frequent class of the test; for values the RMSE of the training mean."""
    seeds: tuple[int, ...]
    """Of the fits after tuning."""
    protocol: tuple[str, ...]
    """How it was done, a sentence each."""
    notes: tuple[str, ...]
    """What a reader must know about these data."""
    rows: tuple[ModelRow, ...]
    """The scores."""
    differences: tuple[Difference, ...]
    """For each model T-JEPA against columns, and for each number of labels the best row against the next of another kind."""

    @property
    def metric(self) -> str:
        """What rows are compared by."""
        return "rmse" if self.task == "regress" else "accuracy"

    def best(self, labels: int, features: str | None = None, boosting: bool | None = None) -> ModelRow | None:
        """The best row with so many labels, of some features, with or without boosting; None: there is no such row."""
        sign = -1 if self.metric == "rmse" else 1
        some = [
            row
            for row in self.rows
            if row.labels == labels
            and features in (None, row.features)
            and boosting in (None, row.model in BOOSTING)
        ]
        return max(some, key=lambda row: sign * row.mean(self.metric), default=None)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows as text: mean ± standard deviation over the seeds."""
        metrics = ["rmse"] if self.task == "regress" else ["accuracy", "macro_f1"]
        kinds = list(dict.fromkeys(row.features for row in self.rows))
        header = ["model", "labels", *(f"{kind}: {FORMS[m][2]}" for m in metrics for kind in kinds)]
        found = {(row.model, row.labels, row.features): row for row in self.rows}
        body = []
        for model, labels in dict.fromkeys((row.model, row.labels) for row in self.rows):
            cells = [_cell(found.get((model, labels, kind)), metric) for metric in metrics for kind in kinds]
            body.append([NAMES[model], str(labels), *cells])
        scale, form, _ = FORMS[self.metric]
        last = ["always the same answer", "", format(scale * self.chance, form)]
        return header, [*body, last + [""] * (len(header) - len(last))]

    def words(self) -> list[str]:
        """What the table says, a sentence each."""
        said = []
        for labels in dict.fromkeys(row.labels for row in self.rows):
            best = self.best(labels)
            assert best is not None
            scale, form, title = FORMS[self.metric]
            reached = format(scale * best.mean(self.metric), form)
            said.append(f"{labels} labels: the best mean is that of {best.name}, {title} {reached}")
            said += [f"{labels} labels: {each}" for each in self.differences if each.labels == labels]
            trees, nets = self.best(labels, COLUMNS, True), self.best(labels, TOKENS, False)
            if trees is not None and nets is not None:
                pair = (trees.name, nets.name)
                last = next(d for d in self.differences if d.labels == labels and (d.first, d.second) == pair)
                said.append(f"{labels} labels: {_of_trees(last)}")
        cut = sum(row.cut for row in self.rows)
        if cut:
            said.append(
                f"{cut} fits were ended by the time limit: their models might be better with more (--seconds)"
            )
        return said

    def markdown(self) -> str:
        """The table in Markdown, what it says, and the protocol."""
        header, body = self.table()
        lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
        lines += [f"| {' | '.join(cells)} |" for cells in body]
        for title, items in (("In words", self.words()), ("Protocol", self._statement())):
            lines += ["", f"{title}:", "", *(f"- {item}" for item in items)]
        return "\n".join(lines)

    def to_json(self) -> str:
        """All of it as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def __str__(self) -> str:
        header, body = self.table()
        widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in [header, *body]
        ]
        return "\n".join([*self._statement(), "", *(line.rstrip() for line in lines), "", *self.words()])

    def _statement(self) -> list[str]:
        return [
            f"tokens of {self.run}; labels from {self.train}, scored on {self.test} ({self.test_size} rows)",
            *self.protocol,
            *(f"note: {note}" for note in self.notes),
        ]


def _of_trees(found: Difference) -> str:
    """What boosting on raw columns against networks on T-JEPA comes to."""
    if not found.clear:
        return "boosting on the raw columns and the networks on T-JEPA are as good, as far as these rows tell"
    if found.gain > 0:
        return "boosting on the raw columns still wins: T-JEPA is not worth its training for this table, by this score"
    return "the networks on T-JEPA win against boosting on the raw columns"


def _cell(row: ModelRow | None, metric: str) -> str:
    if row is None:
        return "-"
    scale, form, _ = FORMS[metric]
    around = spread(row.scores[metric])
    return format(scale * row.mean(metric), form) + (
        "" if around is None else f" ± {format(scale * around, form)}"
    )


def difference(
    first: ModelRow, second: ModelRow, metric: str, errors: tuple[np.ndarray, np.ndarray]
) -> Difference:
    """By how much the first row is better, and how sure that is.

    Args:
        first, second: rows with as many labels.
        metric: ``"accuracy"`` or ``"rmse"``.
        errors: for each the error of every test row, mean over the seeds; wrong or not, or squared.
    """
    gain = first.mean(metric) - second.mean(metric)
    apart = errors[0] - errors[1]
    of_rows = float(apart.std() / math.sqrt(len(apart)))
    if metric == "rmse":
        gain = -gain
        # The root makes of a small step of the mean square one of its half over the root.
        of_rows /= max(first.mean(metric) + second.mean(metric), 1e-12)
    of_seeds = sum(
        (spread(row.scores[metric]) or 0.0) ** 2 / len(row.scores[metric]) for row in (first, second)
    )
    return Difference(first.name, second.name, first.labels, metric, gain, math.sqrt(of_rows**2 + of_seeds))

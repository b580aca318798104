"""What a probe found, and under which protocol."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.config import from_dict
from anyjepa.errors import DataError

RESULT = "probe.json"


@dataclass(frozen=True)
class Row:
    """Scores of one kind of features with one number of labels. Accuracies are shares, 0..1."""

    features: str
    """``"pretrained"``, or the name of a baseline."""
    labels: int
    """Training labels used."""
    dims: int
    """Values per image."""
    knn: tuple[float, ...]
    """Accuracy of the nearest neighbours for each seed."""
    linear: tuple[float, ...]
    """Accuracy of the linear probe for each seed."""


@dataclass(frozen=True)
class ProbeResult:
    """A table of scores with everything needed to read it. ``str()`` of it is for people, :meth:`to_json` for machines."""

    run: str
    """What was probed."""
    method: str
    """Name of the method."""
    encoder: str
    """Which encoder was read."""
    pooling: str
    """How tokens became one vector."""
    layers: tuple[int, ...]
    """Which blocks were read; -1 is the last one, after its norm."""
    train: str
    """Where the training labels come from."""
    test: str
    """Where the test labels come from."""
    train_size: int
    """Labelled images a budget is drawn from."""
    test_size: int
    """Images the scores are counted on."""
    classes: int
    """Classes in the training labels."""
    chance: float
    """Share of the most frequent test class: what a constant answer scores."""
    seeds: tuple[int, ...]
    """Seeds of splits, label choices and untrained encoders."""
    protocol: tuple[str, ...]
    """How features were normalised and classified, a sentence each."""
    notes: tuple[str, ...]
    """What the reader must know about these data."""
    rows: tuple[Row, ...]
    """The scores."""

    def row(self, features: str, labels: int | None = None) -> Row:
        """The row of some features; ``labels`` None: with the most labels.

        Raises:
            KeyError: there is no such row.
        """
        found = [r for r in self.rows if r.features == features and labels in (None, r.labels)]
        if not found:
            raise KeyError(f"no row '{features}' with labels={labels}")
        return max(found, key=lambda r: r.labels)

    def to_json(self) -> str:
        """All of it as JSON text, with mean and standard deviation of each row beside the values."""
        plain = asdict(self)
        for row in plain["rows"]:
            for score in ("knn", "linear"):
                row[f"{score}_mean"], row[f"{score}_std"] = float(np.mean(row[score])), spread(row[score])
        return json.dumps(plain, indent=1)

    @classmethod
    def from_json(cls, text: str) -> ProbeResult:
        """The result that :meth:`to_json` wrote; raises DataError when it is not one."""
        try:
            plain: dict[str, Any] = json.loads(text)
            derived = {"knn_mean", "knn_std", "linear_mean", "linear_std"}
            rows = [{k: v for k, v in row.items() if k not in derived} for row in plain.pop("rows")]
            return from_dict(cls, {**plain, "rows": tuple(from_dict(Row, row) for row in rows)})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"this is not the result of a probe: {error}") from error

    @classmethod
    def load(cls, run: str | Path) -> ProbeResult:
        """The result in ``RUN/probe.json``; raises DataError when there is none."""
        file = Path(run) / RESULT
        try:
            return cls.from_json(file.read_text())
        except OSError as error:
            raise DataError(f"cannot read {file} ({error.strerror}): run a probe first") from error

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The scores as text: names of the columns, and the cells of each row. Accuracies are in percent."""
        chance = f"{100 * self.chance:.1f}"
        rows = [
            [row.features, str(row.labels), str(row.dims), _score(row.knn), _score(row.linear)]
            for row in self.rows
        ]
        return ["features", "labels", "dims", "kNN %", "linear %"], [
            *rows,
            ["chance", "", "", chance, chance],
        ]

    def __str__(self) -> str:
        layers = ", ".join(map(str, self.layers))
        lines = [
            f"{self.method} {self.run}: {self.encoder} encoder, {self.pooling} of the tokens, block {layers}",
            f"labels from {self.train} ({self.train_size} images, {self.classes} classes), "
            f"scored on {self.test} ({self.test_size} images)",
            *self.protocol,
            f"seeds {', '.join(map(str, self.seeds))} for split, choice of labels, validation and untrained encoder",
            *(f"note: {note}" for note in self.notes),
            "",
            f"{'features':<12} {'labels':>7} {'dims':>5}   {'kNN %':>12}   {'linear %':>12}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.features:<12} {row.labels:>7} {row.dims:>5}   {_score(row.knn):>12}   {_score(row.linear):>12}"
            )
        chance = f"{100 * self.chance:.1f}"
        lines.append(f"{'chance':<12} {'':>7} {'':>5}   {chance:>12}   {chance:>12}")
        return "\n".join(lines)


def spread(values: tuple[float, ...] | list[float]) -> float | None:
    """Sample standard deviation; None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _score(values: tuple[float, ...]) -> str:
    deviation = spread(values)
    mean = f"{100 * float(np.mean(values)):.1f}"
    return mean if deviation is None else f"{mean} ± {100 * deviation:.1f}"

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


@dataclass(frozen=True)
class ProbeResult:
    """A table of scores with everything needed to read it. ``str()`` of it is for people, :meth:`to_json` for machines."""

    runs: tuple[str, ...]
    """What was probed."""
    methods: tuple[str, ...]
    """Name of the method of each run."""
    shapes: tuple[tuple[int, ...], ...]
    """Shape (C, H, W) of what each run was shown."""
    task: str
    """``"classify"`` or ``"regress"``."""
    encoder: str
    """Which encoder was read: ``"target"``, ``"context"`` or ``"both"``."""
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
    """Images the scores of one seed are counted on."""
    classes: int
    """Classes in the training labels; 0 for measured values."""
    chance: float
    """Share of the most frequent test class: what a constant answer scores. For measured values 0, the R2 of their mean."""
    seeds: tuple[int, ...]
    """Seeds of splits, label choices, validation, probes and untrained encoders."""
    protocol: tuple[str, ...]
    """How features were normalised and read, a sentence each."""
    notes: tuple[str, ...]
    """What the reader must know about these data."""
    rows: tuple[Row, ...]
    """The scores."""
    comparisons: tuple[Comparison, ...] = ()
    """Pairs of rows on the same test samples."""

    @property
    def run(self) -> str:
        """The first run."""
        return self.runs[0]

    @property
    def method(self) -> str:
        """Method of the first run."""
        return self.methods[0]

    def row(
        self, features: str, labels: int | None = None, run: str | None = None, encoder: str | None = None
    ) -> Row:
        """The row of some features; ``labels`` None: with the most labels; ``run``, ``encoder`` None: the first.

        Raises:
            KeyError: there is no such row.
        """
        found = [
            r
            for r in self.rows
            if r.features == features
            and labels in (None, r.labels)
            and run in (None, r.run)
            and encoder in (None, r.encoder)
        ]
        if not found:
            raise KeyError(f"no row '{features}' with labels={labels}")
        return max(found, key=lambda r: r.labels)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the scores as text: mean ± spread over seeds, and the interval over test samples."""
        columns = list(dict.fromkeys((s.probe, s.metric) for row in self.rows for s in row.scores))
        several, both = len(self.runs) > 1, self.encoder == "both"
        header = ["run"] * several + ["features"] + ["encoder"] * both + ["labels", "dims"]
        header += [f"{TITLES[probe]} {METRICS[metric]}" for probe, metric in columns]
        body = []
        for row in self.rows:
            cells = [row.run] * several + [row.features] + [row.encoder] * both
            cells += [str(row.labels), str(row.dims)]
            scores = {(s.probe, s.metric): s for s in row.scores}
            body.append(cells + [_cell(scores.get(column)) for column in columns])
        last = ["chance" if self.task == "classify" else "constant"]
        last = [""] * several + last + [""] * both + ["", ""]
        constant = {"accuracy": f"{100 * self.chance:.1f}", "r2": f"{self.chance:.3f}", "mae": ""}
        return header, [*body, last + [constant[metric] for _, metric in columns]]

    def markdown(self) -> str:
        """The table in Markdown, with the comparisons and the protocol as lists."""
        header, body = self.table()
        lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
        lines += [f"| {' | '.join(cells)} |" for cells in body]
        for title, items in (("Differences", self.comparisons), ("Protocol", self._statement())):
            lines += ["", f"{title}:", "", *(f"- {item}" for item in items)] if items else []
        return "\n".join(lines)

    def to_json(self) -> str:
        """All of it as JSON text, with mean and standard deviation of each score beside its values."""
        plain = asdict(self)
        for row in plain["rows"]:
            for score in row["scores"]:
                score["mean"], score["std"] = float(np.mean(score["values"])), spread(score["values"])
        return json.dumps(plain, indent=1)

    @classmethod
    def from_json(cls, text: str) -> ProbeResult:
        """The result that :meth:`to_json` wrote; raises DataError when it is not one."""
        try:
            plain: dict[str, Any] = json.loads(text)
            for row in plain["rows"]:
                for score in row["scores"]:
                    del score["mean"], score["std"]
            return from_dict(cls, plain)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"this is not the result of a probe of this version ({error}): probe the run again"
            ) from error

    @classmethod
    def load(cls, run: str | Path) -> ProbeResult:
        """The result in ``RUN/probe.json``, or in a file of any name; raises DataError when there is none."""
        file = Path(run) / RESULT if Path(run).is_dir() or not Path(run).exists() else Path(run)
        try:
            return cls.from_json(file.read_text())
        except OSError as error:
            raise DataError(f"cannot read {file} ({error.strerror}): run a probe first") from error

    def __str__(self) -> str:
        header, body = self.table()
        widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
        words = header.index("labels")

        def line(cells: list[str]) -> str:
            padded = [
                cell.ljust(w) if i < words else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
            ]
            return "  ".join(padded).rstrip()

        lines = [*self._statement(), "", line(header), *map(line, body)]
        if self.comparisons:
            lines += ["", *map(str, self.comparisons)]
        return "\n".join(lines)

    def _statement(self) -> list[str]:
        layers = ", ".join(map(str, self.layers))
        kinds = f", {self.classes} classes" if self.task == "classify" else ""
        named = zip(self.methods, self.runs, self.shapes, strict=True)
        which = "both encoders" if self.encoder == "both" else f"{self.encoder} encoder"
        return [
            *(f"{method} {run}: images of {' x '.join(map(str, shape))}" for method, run, shape in named),
            f"{which}, {POOLED[self.pooling]}, block {layers}",
            f"labels from {self.train} ({self.train_size} images{kinds}), scored on {self.test} ({self.test_size} images)",
            *self.protocol,
            *(f"note: {note}" for note in self.notes),
        ]


POOLED = {
    "mean": "mean of the tokens",
    "meanmax": "mean and maximum of the tokens",
    "tokens": "all tokens joined",
}


def spread(values: tuple[float, ...] | list[float]) -> float | None:
    """Sample standard deviation; None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _cell(score: Score | None) -> str:
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

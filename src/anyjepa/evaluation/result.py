"""What a probe found, and under which protocol."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.bundle import Shape, described
from anyjepa.config import from_dict
from anyjepa.errors import DataError
from anyjepa.evaluation.scores import METRICS, TITLES, Comparison, Row, cell, spread

RESULT = "probe.json"

POOLED = {
    "mean": "mean of the tokens",
    "meanmax": "mean and maximum of the tokens",
    "tokens": "all tokens joined",
}


@dataclass(frozen=True)
class ProbeResult:
    """A table of scores with everything needed to read it. ``str()`` of it is for people, :meth:`to_json` for machines."""

    runs: tuple[str, ...]
    """What was probed."""
    methods: tuple[str, ...]
    """Name of the method of each run."""
    shapes: tuple[Shape, ...]
    """Shape (C, ...) of what each run was shown, or that of each part."""
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
            body.append(cells + [cell(scores.get(column)) for column in columns])
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
            *(f"{method} {run}: samples of {described(shape)}" for method, run, shape in named),
            f"{which}, {POOLED[self.pooling]}, block {layers}",
            f"labels from {self.train} ({self.train_size} samples{kinds}), scored on {self.test} ({self.test_size} samples)",
            *self.protocol,
            *(f"note: {note}" for note in self.notes),
        ]

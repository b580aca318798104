"""Runs scored on sequences of views, beside their untrained twins, with whole objects or angles held out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation.features import untrained
from anyjepa.evaluation.keep import keep, places
from anyjepa.evaluation.regression import HEADS
from anyjepa.evaluation.sequence_features import Part, part
from anyjepa.evaluation.sequence_tasks import TASKS, Setting
from anyjepa.evaluation.subjects import Subject, default_device
from anyjepa.randomness import permutation

RESULT = "probe-{task}.json"
HELD = 0.25
"""Share of the objects, angles or images that is held out where no test data are given."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SequenceScore:
    """One number of one kind of features with one seed."""

    run: str
    features: str
    seed: int
    quantity: str
    length: int
    value: float


@dataclass(frozen=True)
class SequenceResult:
    """All scores, and how they came about. ``str()`` of it is for people."""

    task: str
    train: str
    test: str
    split: str
    sizes: tuple[int, int]
    protocol: str
    scores: tuple[SequenceScore, ...]

    def values(
        self, quantity: str, length: int, features: str = "pretrained", run: str | None = None
    ) -> list[float]:
        """That number with each seed."""
        return [
            s.value
            for s in self.scores
            if (s.quantity, s.length, s.features) == (quantity, length, features) and run in (None, s.run)
        ]

    def to_json(self) -> str:
        """For machines."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: a column for each kind of features, mean and spread over the seeds."""
        kinds = list(dict.fromkeys((s.run, s.features) for s in self.scores))
        several = len({run for run, _ in kinds}) > 1
        asked = list(dict.fromkeys((s.quantity, s.length) for s in self.scores))
        header = [
            "score",
            "views",
            *(f"{run} {features}" if several else features for run, features in kinds),
        ]
        rows = []
        for quantity, length in asked:
            cells = [quantity, str(length or "")]
            for run, features in kinds:
                found = self.values(quantity, length, features, run)
                spread = f" ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
                cells.append(f"{np.mean(found):.3f}{spread}" if found else "")
            rows.append(cells)
        return header, rows

    def __str__(self) -> str:
        header, rows = self.table()
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = [
            f"{self.task}: fitted on {self.sizes[0]} samples of {self.train}, scored on {self.sizes[1]} of {self.test}; "
            f"{self.split}",
            self.protocol,
            "",
        ]
        for row in [header, *rows]:
            padded = [
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)


PROTOCOL = {
    "sequence": "logistic regression on z_AGG of as many views as the column says, and on the encoder's z of one view; strength "
    "chosen on held-out training labels",
    "equivariance": "from the encoder's z of two views the transformation between them, from one its own; linear: ridge; "
    "mlp: ReLU layers, ended early; uniform: the mean of the R2 of each number, global: one R2 with one mean",
    "retrieval": "all views of the object, or 50 more of the image, by likeness to the predicted view",
    "path": "from z_AGG and the last action the transformation from the first view to the one after the last; without: they are "
    "zero when it is scored",
}


def probe_sequences(
    runs: Sequence[str | Path],
    train: str | Path,
    test: str | Path | None = None,
    *,
    task: str,
    lengths: Sequence[int] = (1, 3, 5),
    heads: Sequence[str] = HEADS,
    seeds: Sequence[int] = (0,),
    encoder: str = "target",
    read: Mapping[str, Any] | None = None,
    limit: int | None = 4000,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> SequenceResult:
    """Score runs on sequences. Heads are fitted on training samples and scored on others; the untrained twin stands beside each.

    The result is written to ``RUN/probe-TASK.json`` of each run, and to ``out``.

    Args:
        runs: directories of runs or of checkpoints.
        train: data as the runs are for; with labels for the task ``sequence``.
        test: data for the score; None: a quarter of the objects (or of the angles, or of the images) of ``train`` is held out.
        task: ``"sequence"`` (classes from z_AGG), ``"equivariance"`` (transformations from pairs of views), ``"retrieval"`` (of
            the predicted view) or ``"path"`` (integration of the actions).
        lengths: numbers of observed views.
        heads: of ``"linear"`` and ``"mlp"``, for transformations.
        seeds: of the split, the sequences, the heads and the untrained twin.
        encoder: ``"target"`` or ``"context"``.
        read: options by which the data are read, instead of those of the runs.
        limit: most samples on either side; None: all.
        device: None: a GPU where there is one.
        out: a file to write the result to as well.
        progress: called with (what is done, parts done, parts in all).

    Raises:
        ConfigError: an unknown task or head, or a run for another kind of data.
        DataError: labels are missing, or there is nothing to hold out.
    """
    for name, known, given in (("task", TASKS, [task]), ("head", HEADS, heads)):
        for one in given:
            if one not in known:
                raise ConfigError(f"unknown {name} '{one}': {nearest(one, known)}")
    if not lengths or min(lengths) < 1:
        raise ConfigError(f"lengths are numbers of observed views from 1 on, got {list(lengths)}")
    device = default_device(device)
    scores: list[SequenceScore] = []
    split, sizes, done = "", (0, 0), 0
    for run in runs:
        subject = Subject.load(run, read)
        whole = _open(subject, train, task)
        held = None if test is None else _open(subject, test, task)
        for seed in seeds:
            inside, outside, split = _split(whole, held, seed, limit)
            sizes = (len(inside.rows), len(outside.rows))
            setting = Setting(tuple(lengths), seed, heads=tuple(heads), encoder=encoder, device=device)
            for features, method in (
                ("pretrained", subject.method),
                ("untrained", untrained(subject.method, seed)),
            ):
                for found in TASKS[task](method, inside, outside, setting):
                    scores.append(
                        SequenceScore(str(run), features, seed, found.quantity, found.length, found.value)
                    )
                done += 1
                if progress is not None:
                    progress("scoring sequences", done, 2 * len(seeds) * len(runs))
    result = SequenceResult(
        task, str(train), str(train if test is None else test), split, sizes, PROTOCOL[task], tuple(scores)
    )
    keep(result, places(runs, RESULT.format(task=task), out))
    return result


def _open(subject: Subject, path: str | Path, task: str) -> ViewsDataset:
    reading = subject.modality.suit(subject.reading, subject.method.input_shape())
    if subject.modality.name != "views":
        raise ConfigError(
            f"task={task} is for runs on sequences of views, {subject.run} is one on {subject.modality.noun}"
        )
    # Views and actions belong together when they are scored, also for a run that was kept from seeing it.
    reading = replace(reading, chance_actions=False)
    try:
        source = subject.modality.open(path, reading, labels=True)
    except DataError:
        if task == "sequence":
            raise
        source = subject.modality.open(path, reading)
    dataset = subject.modality.dataset(source, reading)
    assert isinstance(dataset, ViewsDataset)
    return dataset


def _split(
    whole: ViewsDataset, held: ViewsDataset | None, seed: int, limit: int | None
) -> tuple[Part, Part, str]:
    if held is not None:
        return (
            part(whole, _few(len(whole), limit)),
            part(held, _few(len(held), limit)),
            "test data of their own",
        )
    groups = whole.source.groups
    if groups is None:
        what, groups = "images", np.arange(len(whole))
    else:
        names = whole.source.group_names or ("",)
        what = "angles" if names[0].endswith("degrees") else "objects"
    known = np.unique(groups)
    if len(known) < 2:
        raise DataError(f"there are {len(known)} {what}, too few to hold some out: give --test")
    order = known[permutation(seed, "evaluation/sequences", 0, len(known))]
    away = np.isin(groups, order[: max(1, round(HELD * len(known)))])
    inside, outside = np.flatnonzero(~away), np.flatnonzero(away)
    if limit is not None and what == "images":
        inside, outside = inside[:limit], outside[:limit]
    return (
        part(whole, inside),
        part(whole, outside),
        f"a quarter of the {what} held out, others for each seed",
    )


def _few(count: int, limit: int | None) -> np.ndarray:
    return np.arange(count if limit is None else min(count, limit))

"""Runs scored on recordings with several labels each: frozen features beside the untrained encoder and the input."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.errors import DataError
from anyjepa.evaluation.features import Reader, encoder_reader, extract, untrained
from anyjepa.evaluation.keep import keep, places
from anyjepa.evaluation.label_sets import person_split, probe_label_sets
from anyjepa.evaluation.subjects import Subject, default_device

RESULT = "probe-sets.json"
SHOWN = 12
"""Labels whose own scores are printed."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SetScore:
    """Macro ROC-AUC of one kind of features with one seed, and that of each label; None where it cannot be told."""

    run: str
    features: str
    seed: int
    macro: float
    per_label: tuple[float | None, ...]
    strength: float


@dataclass(frozen=True)
class SetsResult:
    """All scores, and how they came about. ``str()`` of it is for people."""

    data: str
    labels: tuple[str, ...]
    split: str
    sizes: tuple[int, int, int]
    unlearned: str
    scores: tuple[SetScore, ...]

    def to_json(self) -> str:
        """For machines."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def __str__(self) -> str:
        told = " / ".join(map(str, self.sizes))
        lines = [
            f"{len(self.labels)} labels of {self.data}; {self.split}: {told} samples to train, to choose, to test; nobody is on "
            "two sides",
            f"one linear map for all labels on the mean of the tokens; raw: {self.unlearned}",
            "",
        ]
        kinds = list(dict.fromkeys((s.run, s.features) for s in self.scores))
        width = max(len(f"{run} {features}") for run, features in kinds)
        lines.append(f"{'':<{width}}  macro AUROC")
        for run, features in kinds:
            found = [s.macro for s in self.scores if (s.run, s.features) == (run, features)]
            spread = f" ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
            lines.append(f"{f'{run} {features}':<{width}}  {np.mean(found):.3f}{spread}")
        first = [s for s in self.scores if (s.run, s.features) == kinds[0]]
        known = [
            (name, float(np.mean([value for value in column if value is not None])))
            for name, column in zip(self.labels, zip(*(s.per_label for s in first), strict=True), strict=True)
            if any(value is not None for value in column)
        ]
        best = sorted(known, key=lambda pair: -pair[1])
        shown = best if len(best) <= SHOWN else [*best[: SHOWN // 2], *best[-SHOWN // 2 :]]
        dots = "" if len(best) <= SHOWN else ", best and worst"
        lines += ["", f"labels of {' '.join(kinds[0])}{dots}: " + ", ".join(f"{n} {v:.2f}" for n, v in shown)]
        left = len(self.labels) - len(known)
        if left:
            lines.append(
                f"{left} labels cannot be scored: all or none of the test or training samples have them"
            )
        return "\n".join(lines)


def probe_sets(
    runs: Sequence[str | Path],
    data: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    encoder: str = "target",
    pooling: str = "mean",
    layers: Sequence[int] = (-1,),
    read: Mapping[str, Any] | None = None,
    batch_size: int = 256,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> SetsResult:
    """Macro ROC-AUC of linear probes of all labels at once; see :mod:`~anyjepa.evaluation.label_sets` for the protocol.

    The result is written to ``RUN/probe-sets.json`` of each run, and to ``out``.

    Args:
        runs: directories of runs or of checkpoints.
        data: samples with several labels each.
        seeds: of the split, where the data have no folds, and of the untrained encoder.
        encoder, pooling, layers: as in :func:`~anyjepa.evaluation.probe.probe`.
        read: options by which the data are read, instead of those of the runs.
        batch_size: samples per forward pass.
        device: None: a GPU where there is one.
        out: a file to write the result to as well.
        progress: called with (what is done, samples done, samples in all).

    Raises:
        DataError: the data have no labels, too few persons, or none of the labels can be told.
    """
    device = default_device(device)
    scores: list[SetScore] = []
    for run in runs:
        subject = Subject.load(run, read)
        reading = subject.modality.suit(subject.reading, subject.method.input_shape())
        dataset = subject.modality.dataset(subject.modality.open(data, reading), reading)
        source = dataset.source
        if source.label_sets is None:
            raise DataError(f"{data} has no labels, or one for each sample: leave --task sets out")
        options: dict[str, Any] = dict(encoder=encoder, pooling=pooling, layers=layers, device=device)
        readers: dict[str, Reader] = {"pretrained": encoder_reader(subject.method, **options)}
        readers |= {f"untrained {s}": encoder_reader(untrained(subject.method, s), **options) for s in seeds}
        readers["raw"] = subject.modality.raw(subject.method)
        found = extract(
            readers,
            dataset,
            batch_size=batch_size,
            progress=None if progress is None else lambda done, total: progress("reading", done, total),
        )
        rows = found.index
        groups = rows if source.groups is None else source.groups[rows]
        folds = None if source.folds is None else source.folds[rows]
        for seed in seeds:
            split = person_split(groups, folds, seed)
            for features in ("pretrained", "untrained", "raw"):
                values = found.values[f"untrained {seed}" if features == "untrained" else features]
                fit = probe_label_sets(values, source.label_sets[rows], source.label_names, split)
                each = tuple(None if np.isnan(v) else v for v in fit.auc.per_class)
                scores.append(SetScore(str(run), features, seed, fit.auc.mean, each, fit.strength))
    sizes = (len(split.train), len(split.valid), len(split.test))
    result = SetsResult(
        str(data), source.label_names, split.source, sizes, subject.modality.unlearned, tuple(scores)
    )
    keep(result, places(runs, RESULT, out))
    return result

"""What is probed: runs, their untrained twins and the raw input, each read as the run reads its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anyjepa.bundle import described
from anyjepa.config import from_dict, to_dict
from anyjepa.contract import Method
from anyjepa.data import Dataset
from anyjepa.data.modality import Modality
from anyjepa.errors import ConfigError, nearest
from anyjepa.hub.load import read

BASELINES = ("untrained", "raw")


@dataclass(frozen=True)
class Subject:
    """A run, loaded.

    Attributes:
        run: where it is.
        method: its method.
        modality: the kind of data it is for.
        reading: how its samples become batches.
    """

    run: str
    method: Method
    modality: Modality
    reading: Any

    @classmethod
    def load(cls, run: str | Path, options: Mapping[str, Any] | None = None) -> Subject:
        """A run, or whatever else :func:`anyjepa.load` takes, with these options of its kind of data instead of the run's.

        Raises:
            ConfigError: an option is unknown.
        """
        loaded = read(run)
        kind = loaded.modality
        chosen = {name: value for name, value in (options or {}).items() if value is not None}
        reading: Any = from_dict(
            kind.config, to_dict(loaded.reading) | {"limit": None} | chosen, f"{kind.name}."
        )
        return cls(str(run), loaded.method, kind, reading)

    def open(self, path: str | Path) -> Dataset:
        """Labelled samples as this run takes them."""
        reading = self.modality.suit(self.reading, self.method.input_shape())
        return self.modality.dataset(self.modality.open(path, reading, labels=True), reading)

    @property
    def view(self) -> tuple[object, ...]:
        """What decides how a sample is read: subjects that agree in it share one reading."""
        return (
            self.modality.name,
            described(self.method.input_shape()),
            repr(self.modality.seen(self.reading)),
        )


@dataclass(frozen=True)
class Kind:
    """One kind of features: a row of the table for every budget.

    Attributes:
        features: ``"pretrained"`` or the name of a baseline.
        run: the run they are of; empty where all runs share them.
        encoder: the encoder that is read; empty for the raw input.
        subject: the run they are read like.
    """

    features: str
    run: str
    encoder: str
    subject: Subject

    @property
    def seeded(self) -> bool:
        """Whether each seed has features of its own."""
        return self.features == "untrained"

    def belongs_to(self, other: Kind) -> bool:
        """Whether this is a baseline of those pretrained features."""
        if self.features == "raw":
            return self.subject.view == other.subject.view
        return _twin(self.subject) == _twin(other.subject) and self.encoder == other.encoder


def kinds(subjects: Sequence[Subject], encoders: Sequence[str], baselines: Sequence[str]) -> list[Kind]:
    """The rows for these runs, in order; baselines that are the same for several runs come once."""
    for name in baselines:
        if name not in BASELINES:
            raise ConfigError(f"unknown baseline '{name}': {nearest(name, BASELINES)}")
    found = [Kind("pretrained", s.run, encoder, s) for s in subjects for encoder in encoders]
    if "untrained" in baselines:
        twins = {_twin(s): s for s in reversed(subjects)}
        for s in subjects:
            if twins[_twin(s)] is s:
                run = "" if len(twins) == 1 < len(subjects) else s.run
                found += [Kind("untrained", run, encoder, s) for encoder in encoders]
    if "raw" in baselines:
        views = {s.view: s for s in reversed(subjects)}
        for s in subjects:
            if views[s.view] is s:
                run = s.run if len(views) > 1 else ""
                found.append(Kind("raw", run, "", s))
    return found


def _twin(subject: Subject) -> str:
    """Runs of which this is equal have the same untrained encoder."""
    config = to_dict(subject.method.config)
    config.pop("seed", None)
    config.pop("optim", None)
    return repr((subject.method.name, config, subject.view))


def default_device(device: str | None) -> str:
    """The device asked for; None: a GPU where there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")

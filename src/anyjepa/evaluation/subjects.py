"""What is probed: runs, their untrained twins and the bare pixels, each read at the run's own image size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from anyjepa.config import to_dict
from anyjepa.contract import Method
from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.errors import ConfigError, nearest
from anyjepa.hub.load import read

BASELINES = ("untrained", "raw")


@dataclass(frozen=True)
class Subject:
    """A run, loaded.

    Attributes:
        run: where it is.
        method: its method.
        images: how its images become batches.
    """

    run: str
    method: Method
    images: ImageConfig

    @classmethod
    def load(
        cls, run: str | Path, image_column: str | None = None, label_column: str | None = None
    ) -> Subject:
        """A run, or whatever else :func:`anyjepa.load` takes; columns that are not None replace those of the run."""
        loaded = read(run)
        images = loaded.images
        return cls(
            str(run),
            loaded.method,
            replace(
                images,
                limit=None,
                image_column=image_column or images.image_column,
                label_column=label_column or images.label_column,
            ),
        )

    def open(self, path: str | Path) -> ImageDataset:
        """Labelled images as this run takes them."""
        channels, *size = self.method.input_shape()
        # A run on colour also reads grey images, and the other way round.
        config = replace(self.images, channels=channels)
        return ImageDataset.open(path, config, size=(size[0], size[1]), labels=True)

    @property
    def view(self) -> tuple[object, ...]:
        """What decides how an image is read: subjects that agree in it share one reading."""
        c = self.images
        return (self.method.input_shape(), c.mean, c.std, c.image_column, c.label_column)


@dataclass(frozen=True)
class Kind:
    """One kind of features: a row of the table for every budget.

    Attributes:
        features: ``"pretrained"`` or the name of a baseline.
        run: the run they are of; empty where all runs share them.
        encoder: the encoder that is read; empty for raw pixels.
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

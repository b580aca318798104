"""What is probed: runs, their untrained twins and the bare pixels, each read at the run's own image size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from anyjepa.config import from_dict, read_yaml, to_dict
from anyjepa.contract import Method
from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation.features import Reader, encoder_reader, extract, pixel_reader, untrained
from anyjepa.evaluation.fits import Inputs, Progress
from anyjepa.evaluation.labelled import Labelled, join
from anyjepa.evaluation.samples import Samples
from anyjepa.evaluation.tokens import TokenBudget, TokenStore
from anyjepa.training.checkpoint import STATE, latest, load_method, read_state
from anyjepa.training.run_dir import CONFIG

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
        """The method and the image settings of a run; columns that are not None replace those of the run."""
        method, images = load_method(run), _image_config(Path(run))
        return cls(
            str(run),
            method,
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


@dataclass(frozen=True)
class Material:
    """Everything read: the labels, and the features of every kind.

    Attributes:
        data: labels and splits.
        inputs: by kind; one for each seed where a kind is seeded, else one.
    """

    data: Labelled
    inputs: dict[Kind, tuple[Inputs, ...]]


def read(
    rows: Sequence[Kind],
    train: str | Path,
    test: str | Path | None,
    *,
    task: str | None,
    seeds: Sequence[int],
    pooling: str,
    layers: Sequence[int],
    tokens: TokenBudget | None,
    batch_size: int,
    device: str,
    progress: Progress | None,
) -> Material:
    """Reads all features, each image once for all runs that take it alike.

    Args:
        rows: what to read.
        train, test: labelled images.
        task: ``"classify"``, ``"regress"`` or None: by the labels.
        seeds: of the untrained encoders.
        pooling, layers: see :func:`~anyjepa.evaluation.features.encoder_reader`.
        tokens: memory for tokens; None: they are not kept.
        batch_size: images per forward pass.
        device: where to compute.
        progress: called as images are read.

    Raises:
        DataError: the runs read different samples.
    """
    views: dict[tuple[object, ...], list[Kind]] = {}
    for kind in rows:
        views.setdefault(kind.subject.view, []).append(kind)
    first: Labelled | None = None
    inputs: dict[Kind, tuple[Inputs, ...]] = {}
    for number, (_, alike) in enumerate(views.items()):
        subject = alike[0].subject
        sets = [subject.open(path) for path in (train, test) if path is not None]
        methods = {(kind, seed): _method(kind, seed) for kind in alike for seed in _turns(kind, seeds)}
        stores = {
            key: TokenStore(sum(map(len, sets)), tokens)
            for key, method in methods.items()
            if method is not None and tokens is not None
        }
        readers: dict[str, Reader] = {}
        for i, ((kind, seed), method) in enumerate(methods.items()):
            readers[str(i)] = (
                pixel_reader(subject.method.input_shape())
                if method is None
                else encoder_reader(
                    method,
                    encoder=kind.encoder,
                    pooling=pooling,
                    layers=layers,
                    device=device,
                    store=stores.get((kind, seed)),
                )
            )
        what = "reading images" + (f" ({number + 1} of {len(views)} sizes)" if len(views) > 1 else "")
        parts = [
            extract(readers, dataset, batch_size=batch_size, progress=_named(progress, what))
            for dataset in sets
        ]
        held, held_source = (None, None) if test is None else (parts[1], sets[1].source)
        data = join(parts[0], sets[0].source, held, held_source, task)
        first = first or data
        if not (np.array_equal(first.index, data.index) and np.array_equal(first.labels, data.labels)):
            raise DataError(
                f"{subject.run} reads other samples or labels of the same data than {rows[0].subject.run}: give image_column and "
                "label_column, so that all runs read the same"
            )
        samples = Samples(sets[0], sets[1] if test is not None else None, data.index, data.train_size)
        for kind in alike:
            inputs[kind] = tuple(
                Inputs(
                    data.values[str(i)],
                    stores.get(key),
                    method,
                    kind.encoder,
                    kind.seeded,
                    samples,
                )
                for i, (key, method) in enumerate(methods.items())
                if key[0] is kind
            )
    assert first is not None
    return Material(first, inputs)


def _method(kind: Kind, seed: int) -> Method | None:
    if kind.features == "raw":
        return None
    return untrained(kind.subject.method, seed) if kind.seeded else kind.subject.method


def _turns(kind: Kind, seeds: Sequence[int]) -> Sequence[int]:
    return seeds if kind.seeded else seeds[:1]


def _named(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)


def _twin(subject: Subject) -> str:
    """Runs of which this is equal have the same untrained encoder."""
    config = to_dict(subject.method.config)
    config.pop("seed", None)
    config.pop("optim", None)
    return repr((subject.method.name, config, subject.view))


def _image_config(path: Path) -> ImageConfig:
    """How the run's images became batches; the defaults where it does not say."""
    checkpoint = path if (path / STATE).is_file() else latest(path)
    config = read_yaml(path / CONFIG) if checkpoint is None else read_state(checkpoint).config
    return from_dict(ImageConfig, dict(config.get("images") or {}))


def default_device(device: str | None) -> str:
    """The device asked for; None: a GPU where there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")

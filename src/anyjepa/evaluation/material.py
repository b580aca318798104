"""Everything a probe reads: the labels, and the features of every kind, each sample read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anyjepa.contract import Method
from anyjepa.data import Source
from anyjepa.errors import DataError
from anyjepa.evaluation.features import Reader, encoder_reader, extract, untrained
from anyjepa.evaluation.fits import Inputs, Progress
from anyjepa.evaluation.labelled import Labelled, join
from anyjepa.evaluation.samples import Samples
from anyjepa.evaluation.subjects import Kind
from anyjepa.evaluation.tokens import TokenBudget, TokenStore


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
    """Reads all features, each sample once for all runs that take it alike.

    Args:
        rows: what to read.
        train, test: labelled data.
        task: ``"classify"``, ``"regress"`` or None: by the labels.
        seeds: of the untrained encoders.
        pooling, layers: see :func:`~anyjepa.evaluation.features.encoder_reader`.
        tokens: memory for tokens; None: they are not kept.
        batch_size: samples per forward pass.
        device: where to compute.
        progress: called as samples are read.

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
        methods = {
            (kind, seed): _method(kind, seed, sets[0].source)
            for kind in alike
            for seed in _turns(kind, seeds)
        }
        stores = {
            key: TokenStore(sum(map(len, sets)), tokens, sets[0].views)
            for key, method in methods.items()
            if method is not None and tokens is not None
        }
        readers: dict[str, Reader] = {}
        for i, ((kind, seed), method) in enumerate(methods.items()):
            readers[str(i)] = (
                subject.modality.raw(subject.modality.adapt(subject.method, sets[0].source))
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
        what = f"reading {subject.modality.noun}" + (
            f" ({number + 1} of {len(views)} ways)" if len(views) > 1 else ""
        )
        parts = [
            extract(readers, dataset, batch_size=batch_size, progress=_named(progress, what))
            for dataset in sets
        ]
        held, held_source = (None, None) if test is None else (parts[1], sets[1].source)
        data = join(parts[0], sets[0].source, held, held_source, task)
        first = first or data
        if not (np.array_equal(first.index, data.index) and np.array_equal(first.labels, data.labels)):
            raise DataError(
                f"{subject.run} reads other samples or labels of the same data than {rows[0].subject.run}: give the columns, so "
                "that all runs read the same"
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


def _method(kind: Kind, seed: int, source: Source) -> Method | None:
    """What the features are of: made for these samples, where they have other channels than those of the training."""
    if kind.features == "raw":
        return None
    method = kind.subject.modality.adapt(kind.subject.method, source)
    return untrained(method, seed) if kind.seeded else method


def _turns(kind: Kind, seeds: Sequence[int]) -> Sequence[int]:
    return seeds if kind.seeded else seeds[:1]


def _named(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)

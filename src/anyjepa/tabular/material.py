"""Labelled rows as models get them: as raw columns and as tokens of an encoder, split once for all models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from anyjepa.data.tables_config import TablesConfig
from anyjepa.data.tables_source import TableSource
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation import Budget, Reader, extract
from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.features import untrained as with_fresh_weights
from anyjepa.evaluation.labelled import Labelled, join
from anyjepa.evaluation.subjects import Subject
from anyjepa.evaluation.task import REGRESS
from anyjepa.randomness import permutation
from anyjepa.tabular.inputs import Inputs
from anyjepa.tabular.models import FEWEST
from anyjepa.tabular.result import COLUMNS, TOKENS, UNTRAINED

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Material:
    """Labelled rows, read once: as columns and as tokens."""

    kinds: Mapping[str, Inputs]
    """All rows by the kind of input."""
    labels: Labels
    """Their classes or values."""
    inside: Int[np.ndarray, "_"]
    """Positions of the training rows."""
    outside: Int[np.ndarray, "_"]
    """Positions of the test rows."""
    groups: Int[np.ndarray, "n"] | None = None
    """Whose each row is."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""


def read_material(
    run: str | Path,
    train: str | Path,
    test: str | Path | None,
    *,
    task: str | None,
    options: Mapping[str, Any],
    encoder: str = "target",
    untrained: bool = False,
    batch_size: int = 256,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Material:
    """Labelled rows as columns, read as the run reads them, and as the tokens of its encoder; see :func:`compare`."""
    subject = Subject.load(run, options)
    if not isinstance(subject.reading, TablesConfig):
        raise ConfigError(f"{run} is a model for {subject.modality.name}: models are compared on tables")
    sets = [subject.open(path) for path in (train, test) if path is not None]
    method = subject.method.eval().to(device)
    readers: dict[str, Reader] = {
        COLUMNS: lambda rows: rows[:, 0],
        TOKENS: lambda rows: method.encode(rows.to(device), encoder=encoder).tokens.flatten(1),
    }
    if untrained:
        fresh = with_fresh_weights(subject.method, 0).eval().to(device)
        readers[UNTRAINED] = lambda rows: fresh.encode(rows.to(device), encoder=encoder).tokens.flatten(1)
    report = None if progress is None else partial(progress, "reading rows")
    found = [extract(readers, each, batch_size=batch_size, progress=report) for each in sets]
    held, held_source = (found[1], sets[1].source) if test is not None else (None, None)
    data: Labelled = join(found[0], sets[0].source, held, held_source, task)
    inside, outside = data.split(0)
    source = sets[0].source
    assert isinstance(source, TableSource)
    with torch.inference_mode():
        shape = method.encode(sets[0].evaluation([0]).to(device), encoder=encoder).tokens.shape[1:]
    groups = data.groups
    if groups is None and source.groups is not None:
        groups = np.concatenate((source.groups[found[0].index], np.full(len(outside), -1)))
    kinds = {COLUMNS: Inputs(data.values[COLUMNS], tuple(column.cardinality for column in source.columns))}
    kinds |= {
        name: Inputs(tokens=data.values[name].reshape(-1, *shape)) for name in readers if name != COLUMNS
    }
    return Material(
        kinds,
        data.labels,
        inside,
        outside,
        groups,
        _notes(data, test is None),
    )


def task_of(material: Material) -> str:
    """``"regress"`` for values, else ``"classify"``."""
    return REGRESS if material.labels.dtype.kind == "f" else "classify"


def constant(material: Material) -> float:
    """Score of always the same answer: the share of the most frequent test class, or the RMSE of the training mean."""
    truth = material.labels[material.outside]
    if task_of(material) == REGRESS:
        known = material.labels[material.inside]
        return float(np.sqrt(np.square((truth - known.mean()) / known.std()).mean()))
    return float(np.unique(truth, return_counts=True)[1].max() / len(truth))


def drawn(budget: Budget, count: int) -> Int[np.ndarray, "_"]:
    """Positions of the labelled rows among ``count``: at random, because models learn how frequent classes are.

    Raises:
        DataError: there are fewer than ten rows.
        ConfigError: the budget asks for fewer than ten, or for more than there are.
    """
    if count < FEWEST:
        raise DataError(
            f"{count} labelled training rows are too few to hold a fifth back for validation: give at least {FEWEST}"
        )
    wanted = budget.count or (count if budget.share is None else round(budget.share * count))
    if not FEWEST <= wanted <= count:
        raise ConfigError(
            f"labels={wanted} must lie between {FEWEST} and that of labelled training rows, {count}"
        )
    return np.sort(permutation(0, "tables/labels", 0, count)[:wanted])


def _notes(data: Labelled, one_pool: bool) -> tuple[str, ...]:
    """What a reader must know of the split."""
    if not one_pool:
        return data.notes
    whose = "" if data.groups is None else ", whole groups of them"
    return (f"no test set was given: a fifth of the labelled rows is held out{whose}, the same for all fits",)

"""Labelled features, cut into training and test samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from anyjepa.data import Source
from anyjepa.errors import DataError
from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.features import Features
from anyjepa.evaluation.splits import folds, group_folds
from anyjepa.evaluation.task import REGRESS, task_labels

HELD_OUT = 5
"""One in so many labelled images is held out where there is no test set."""


@dataclass(frozen=True)
class Labelled:
    """Features of all labelled samples, training samples first.

    Attributes:
        values: (n, F) of every reader, by its name.
        labels: (n,) classes, or measured values as floats.
        index: (n,) where each sample is in its source.
        train_size: the samples before this one are for training, the others for the test; None: one pool, of which a fifth
            is held out.
        notes: what a reader of the scores must know.
        groups: (n,) whose each sample of one pool is; nobody is in training and in test.
    """

    values: Mapping[str, Float[np.ndarray, "n _"]]
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n"]
    index: Int[np.ndarray, "n"]
    train_size: int | None = None
    notes: tuple[str, ...] = ()
    groups: Int[np.ndarray, "n"] | None = None

    def split(self, seed: int) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]:
        """Positions of the training and of the test samples; with a test set the same for every seed."""
        everything = np.arange(len(self.labels))
        if self.train_size is not None:
            return everything[: self.train_size], everything[self.train_size :]
        even = strata(self.labels)
        held = (
            folds(even, HELD_OUT, seed)
            if self.groups is None
            else group_folds(even, self.groups, HELD_OUT, seed)
        ) == 0
        return everything[~held], everything[held]


def strata(labels: Labels) -> Int[np.ndarray, "n"]:
    """What folds are stratified by: the classes; nothing for measured values."""
    return np.zeros(len(labels), np.int64) if labels.dtype.kind == "f" else labels


def join(
    train: Features,
    train_source: Source,
    test: Features | None,
    test_source: Source | None,
    task: str | None = None,
) -> Labelled:
    """Training and test features as one, with classes numbered alike.

    Where both sources name their classes, test classes are matched by name: two folders may number them differently.

    Raises:
        DataError: there are no labels, or only one class, or none of the test classes occurs in training.
        ConfigError: the task is not one for these labels.
    """
    labels = _labels(train, "the training data")
    truth = None if test is None else _labels(test, "the test data")
    # Measured values that happen to be whole in one of the two are still measured values.
    if task is None and any(part is not None and part.dtype.kind == "f" for part in (labels, truth)):
        task = REGRESS
    kind, labels = task_labels(labels, task, train_source.class_names is not None)
    if len(np.unique(labels)) < 2:
        if kind == REGRESS:
            raise DataError(f"a probe needs different values, all {len(labels)} labels are {labels[0]}")
        raise DataError(
            f"a probe needs at least two classes, all {len(labels)} labelled samples are of class "
            f"{_name(train_source, int(labels[0]))}"
        )
    if test is None or truth is None:
        groups = None if train_source.groups is None else train_source.groups[train.index]
        whose = "" if groups is None else ", whole groups (persons, files) of them"
        note = f"no test set was given: a fifth of the labelled samples is held out{whose}, another one for each seed"
        return Labelled(train.values, labels, train.index, notes=(note,), groups=groups)
    assert test_source is not None
    _refuse_shared(train_source, train.index, test_source, test.index)
    _, truth = task_labels(truth, kind, test_source.class_names is not None)
    notes: tuple[str, ...] = ()
    if kind != REGRESS:
        truth, notes = _renumbered(truth, train_source, test_source)
        notes += _unseen(labels, truth, train_source, test_source)
    elif len(np.unique(truth)) < 2:
        raise DataError(f"R2 needs different values in the test data, all {len(truth)} labels are {truth[0]}")
    values = {name: np.concatenate((train.values[name], test.values[name])) for name in train.values}
    index = np.concatenate((train.index, test.index))
    return Labelled(values, np.concatenate((labels, truth)), index, len(labels), notes)


def _refuse_shared(train: Source, inside: np.ndarray, test: Source, outside: np.ndarray) -> None:
    """Nobody may be in training and in test: a model would recognise persons."""
    known = [
        {source.group_names[g] for g in np.unique(source.groups[index])}
        if source.groups is not None and source.group_names
        else set()
        for source, index in ((train, inside), (test, outside))
    ]
    both = sorted(known[0] & known[1])
    if both:
        raise DataError(
            f"{len(both)} groups (persons, files) are in the training and in the test data ({', '.join(both[:5])}"
            f"{', ...' * (len(both) > 5)}): a model would recognise them; split the data by group"
        )


def _unseen(
    labels: Int[np.ndarray, "n"], truth: Int[np.ndarray, "m"], train: Source, test: Source
) -> tuple[str, ...]:
    """A note when some test classes have no training label; an error when all have none."""
    seen = np.isin(truth, labels)
    if not seen.any():
        raise DataError(
            f"none of the test classes occurs in training: training has {_some(train)}, test has {_some(test)}"
        )
    if seen.all():
        return ()
    unseen, every = len(np.unique(truth[~seen])), len(np.unique(truth))
    return (
        f"{int((~seen).sum())} test samples count as wrong: {unseen} of {every} test classes have no training label",
    )


def _labels(features: Features, where: str) -> Labels:
    if features.labels is None:
        raise DataError(
            f"{where} has no labels; give a folder with one directory per class, a .parquet file with a label column, or a "
            ".npz with the keys images and labels"
        )
    return features.labels


def _renumbered(
    truth: Int[np.ndarray, "n"], train: Source, test: Source
) -> tuple[Int[np.ndarray, "n"], tuple[str, ...]]:
    """Test classes under the numbers of the training source, and what was done to their names; unknown ones get -1 and below.

    Where no test class is known, but all are without a full stop at their end (Adult has them in its test file alone), they
    are those.
    """
    if not train.class_names or not test.class_names:
        return truth, ()
    numbers = {name: i for i, name in enumerate(train.class_names)}
    names: tuple[str, ...] = tuple(test.class_names)
    notes: tuple[str, ...] = ()
    bare = tuple(name.removesuffix(".") for name in names)
    if not numbers.keys() & set(names) and set(bare) <= numbers.keys() and len(set(bare)) == len(bare):
        notes = (f"test classes are taken without the full stop at their end: {names[0]!r} is {bare[0]!r}",)
        names = bare
    table = np.array([numbers.get(name, -1 - i) for i, name in enumerate(names)])
    return table[truth], notes


def _name(source: Source, label: int) -> str:
    return repr(source.class_names[label]) if source.class_names else str(label)


def _some(source: Source) -> str:
    names = source.class_names or tuple(map(str, np.unique(source.labels).tolist()))  # type: ignore[arg-type]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

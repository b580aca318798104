"""Labelled features, cut into training and test samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from anyjepa.data import Source
from anyjepa.errors import DataError
from anyjepa.evaluation.features import Features
from anyjepa.evaluation.splits import folds

HELD_OUT = 5
"""One in so many labelled images is held out where there is no test set."""


@dataclass(frozen=True)
class Labelled:
    """Features of all labelled samples, training samples first.

    Attributes:
        values: (n, F) of every reader, by its name.
        labels: (n,) classes.
        train_size: the samples before this one are for training, the others for the test; None: one pool, of which a fifth
            is held out.
        notes: what a reader of the scores must know.
    """

    values: Mapping[str, Float[np.ndarray, "n _"]]
    labels: Int[np.ndarray, "n"]
    train_size: int | None = None
    notes: tuple[str, ...] = ()

    def split(self, seed: int) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]:
        """Positions of the training and of the test samples; with a test set the same for every seed."""
        everything = np.arange(len(self.labels))
        if self.train_size is not None:
            return everything[: self.train_size], everything[self.train_size :]
        held = folds(self.labels, HELD_OUT, seed) == 0
        return everything[~held], everything[held]


def join(
    train: Features, train_source: Source, test: Features | None, test_source: Source | None
) -> Labelled:
    """Training and test features as one, with classes numbered alike.

    Where both sources name their classes, test classes are matched by name: two folders may number them differently.

    Raises:
        DataError: there are no labels, or only one class, or none of the test classes occurs in training.
    """
    labels = _labels(train, "the training data")
    if len(np.unique(labels)) < 2:
        only = _name(train_source, int(labels[0]))
        raise DataError(
            f"a probe needs at least two classes, all {len(labels)} labelled images are of class {only}"
        )
    if test is None:
        return Labelled(
            train.values, labels, notes=("no test set was given: a fifth of the labelled images is held out",)
        )
    assert test_source is not None
    truth = _renumbered(_labels(test, "the test data"), train_source, test_source)
    seen = np.isin(truth, labels)
    notes = []
    if not seen.any():
        raise DataError(
            f"none of the test classes occurs in training: training has {_some(train_source)}, test has {_some(test_source)}"
        )
    if not seen.all():
        unseen, every = len(np.unique(truth[~seen])), len(np.unique(truth))
        notes.append(
            f"{int((~seen).sum())} test images count as wrong: {unseen} of {every} test classes have no training label"
        )
    values = {name: np.concatenate((train.values[name], test.values[name])) for name in train.values}
    return Labelled(values, np.concatenate((labels, truth)), len(labels), tuple(notes))


def _labels(features: Features, where: str) -> Int[np.ndarray, "n"]:
    if features.labels is None:
        raise DataError(
            f"{where} has no labels; give a folder with one directory per class, a .parquet file with a label column, or a "
            ".npz with the keys images and labels"
        )
    return features.labels


def _renumbered(truth: Int[np.ndarray, "n"], train: Source, test: Source) -> Int[np.ndarray, "n"]:
    """Test classes under the numbers of the training source; names unknown there get -1 and below."""
    if not train.class_names or not test.class_names:
        return truth
    numbers = {name: i for i, name in enumerate(train.class_names)}
    table = np.array([numbers.get(name, -1 - i) for i, name in enumerate(test.class_names)])
    return table[truth]


def _name(source: Source, label: int) -> str:
    return repr(source.class_names[label]) if source.class_names else str(label)


def _some(source: Source) -> str:
    names = source.class_names or tuple(map(str, np.unique(source.labels).tolist()))  # type: ignore[arg-type]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

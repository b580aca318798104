"""Choosing labelled samples: balanced budgets, stratified folds and batches, as pure functions of a seed."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedGroupKFold

from anyjepa.errors import ConfigError, DataError
from anyjepa.randomness import derive_seed, permutation


def balanced(labels: Int[np.ndarray, "n"], budget: int, seed: int) -> Int[np.ndarray, "_"]:
    """Positions of ``budget`` samples with as many of each class as can be: counts differ by one at most, unless a class
    has too few, whose share then goes to the others. Ascending.

    Raises:
        ConfigError: the budget is smaller than the number of classes, or larger than the number of samples.
    """
    classes = np.unique(labels)
    if not len(classes) <= budget <= len(labels):
        raise ConfigError(
            f"labels={budget} must lie between the number of classes, {len(classes)}, and that of labelled training "
            f"samples, {len(labels)}"
        )
    order = permutation(seed, "evaluation/budget", 0, len(labels))
    # Rank of each sample within its class: the budget takes rank 0 of all classes, then rank 1, and so on.
    rank = _rank_in_class(labels[order])
    turn = permutation(seed, "evaluation/classes", 0, len(classes))[np.searchsorted(classes, labels[order])]
    return np.sort(order[np.lexsort((turn, rank))[:budget]])


def folds(labels: Int[np.ndarray, "n"], parts: int, seed: int) -> Int[np.ndarray, "n"]:
    """The fold 0..parts-1 of each sample: folds are equally large and every class is spread evenly over them."""
    order = permutation(seed, "evaluation/folds", 0, len(labels))
    grouped = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[grouped] = np.arange(len(labels)) % parts
    return fold


def group_folds(
    labels: Int[np.ndarray, "n"], groups: Int[np.ndarray, "n"], parts: int, seed: int
) -> Int[np.ndarray, "n"]:
    """As :func:`folds`, with all samples of a group in one fold, and so only about as large and as evenly spread.

    Raises:
        DataError: there are fewer groups than folds.
    """
    if (found := len(np.unique(groups))) < parts:
        raise DataError(
            f"the labelled samples are of {found} groups (persons, files), too few to hold one in {parts} out: give test data"
        )
    split = StratifiedGroupKFold(
        parts, shuffle=True, random_state=derive_seed(seed, "evaluation/groups") % 2**32
    )
    fold = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        # A class of fewer groups than folds cannot be in each of them, which is no reason not to spread the others.
        warnings.simplefilter("ignore", UserWarning)
        try:
            for k, (_, held) in enumerate(split.split(labels, labels, groups)):
                fold[held] = k
        except ValueError as error:
            raise DataError(
                f"the labelled samples cannot be cut into {parts} folds: {error}; give test data"
            ) from None
    return fold


def epoch_rows(n: int, batch_size: int, step: int, seed: int) -> Int[np.ndarray, "_"]:
    """Which of ``n`` samples make the batch of step ``step`` = 0, 1, ...

    Epochs come in a new order each; the last short batch of an epoch is left out, unless it is the only one.
    """
    size = min(n, batch_size)
    epoch, place = divmod(step, n // size)
    return permutation(seed, "evaluation/order", epoch, n)[place * size : (place + 1) * size]


def _rank_in_class(labels: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """How many earlier samples share a sample's class."""
    grouped = np.argsort(labels, kind="stable")
    _, first, counts = np.unique(labels[grouped], return_index=True, return_counts=True)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[grouped] = np.arange(len(labels)) - np.repeat(first, counts)
    return rank

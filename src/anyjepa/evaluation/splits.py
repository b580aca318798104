"""Choosing labelled samples: balanced budgets, stratified folds and batches, as pure functions of a seed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from anyjepa.errors import ConfigError
from anyjepa.randomness import permutation


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

"""Folds of brain scans with no subject on both sides: spread over labels and sites, or one for each site."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from anyjepa.errors import DataError
from anyjepa.randomness import derive_seed

BINS = 4
"""Numbers are spread evenly over the folds by their quarter."""


def check_disjoint(train: Sequence[str], test: Sequence[str]) -> None:
    """Raise DataError, with names, when a subject is on both sides."""
    both = sorted(set(train) & set(test))
    if both:
        raise DataError(
            f"{len(both)} subjects are in the training and in the test scans ({', '.join(both[:5])}{', ...' * (len(both) > 5)}): "
            "a model would recognise them; split by subject"
        )


def subject_folds(
    subjects: Sequence[str],
    labels: np.ndarray | None = None,
    sites: Sequence[str | None] | None = None,
    *,
    parts: int = 5,
    seed: int = 0,
) -> Int[np.ndarray, "n"]:
    """The fold 0..parts-1 of each scan: all scans of a subject are in one, labels and sites are spread as evenly as can be.

    Args:
        subjects: subject of each scan.
        labels: classes (whole numbers), or numbers, which are spread by their quarter.
        sites: site of each scan.
        parts: number of folds.
        seed: seed of the shuffle.

    Raises:
        DataError: fewer subjects than folds.
    """
    people = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)[1]
    if not 2 <= parts <= len(np.unique(people)):
        raise DataError(
            f"{len(np.unique(people))} subjects cannot be split into {parts} folds: use 2 to that many"
        )
    # Finest first: strata none of which reaches into every fold are too fine to be spread.
    strata, finer = np.zeros(len(people), dtype=np.int64), [np.zeros(len(people), dtype=np.int64)]
    for values in (None if labels is None else _binned(labels), sites):
        if values is not None:
            codes = np.unique(np.asarray([str(v) for v in values]), return_inverse=True)[1]
            strata = np.unique(strata * (codes.max() + 1) + codes, return_inverse=True)[1]
            finer.insert(0, strata)
    strata = next(s for s in finer if np.bincount(s).max() >= parts)
    draw = derive_seed(seed, "evaluation/subjects") % 2**32
    fold = np.empty(len(people), dtype=np.int64)
    split: Any = GroupKFold(parts, shuffle=True, random_state=draw)
    if len(np.unique(strata)) > 1:
        split = StratifiedGroupKFold(parts, shuffle=True, random_state=draw)
    with warnings.catch_warnings():
        # A stratum of fewer subjects than folds cannot be in each of them, which is no reason not to spread the others.
        warnings.simplefilter("ignore", UserWarning)
        for k, (_, held) in enumerate(split.split(np.zeros(len(people)), strata, people)):
            fold[held] = k
    return fold


def site_folds(sites: Sequence[str | None]) -> tuple[Int[np.ndarray, "n"], tuple[str, ...]]:
    """One fold for each site, to be tested on sites that were not seen, and the names of the sites.

    Raises:
        DataError: a site is unknown, or there is only one.
    """
    if any(site is None for site in sites):
        raise DataError("leaving sites out needs the site of every scan: some are unknown")
    names, fold = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"leaving sites out needs at least two, all scans are from '{names[0]}'")
    return fold.astype(np.int64), tuple(names.tolist())


def _binned(labels: np.ndarray) -> np.ndarray:
    """Classes as they are, numbers as the quarter they lie in."""
    if labels.dtype.kind in "iub":
        return labels
    return np.searchsorted(np.quantile(labels, np.arange(1, BINS) / BINS), labels)

"""Images that occur more than once, in a source or in two: the same size, the same pixels, however they are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anyjepa.data.base import Source
from anyjepa.data.look import Look

_EXAMPLES = 5


@dataclass(frozen=True)
class Copies:
    """Exact copies among the images looked at."""

    count: int
    """Images that repeat another one."""
    examples: tuple[tuple[str, str], ...]
    """Some of them by name, each with the one it repeats (up to 5)."""


def copies_within(source: Source, seen: Look) -> Copies:
    """Images that repeat another one of the same source."""
    rows = np.array(seen.rows, dtype=np.int64)
    order = np.lexsort((rows, seen.digests))
    repeats = np.flatnonzero(seen.digests[order][1:] == seen.digests[order][:-1])
    pairs = sorted((int(rows[order[k + 1]]), int(rows[order[k]])) for k in repeats[: 20 * _EXAMPLES])
    return Copies(len(repeats), tuple((source.identity(a), source.identity(b)) for a, b in pairs[:_EXAMPLES]))


def copies_between(source: Source, seen: Look, other: Source, others: Look) -> Copies:
    """Images of ``source`` that are also in ``other``."""
    shared = np.flatnonzero(np.isin(seen.digests, others.digests))
    shared = shared[np.argsort(np.array(seen.rows, dtype=np.int64)[shared])]
    examples = []
    for k in shared[:_EXAMPLES].tolist():
        twin = int(np.flatnonzero(others.digests == seen.digests[k])[0])
        examples.append((source.identity(seen.rows[k]), other.identity(others.rows[twin])))
    return Copies(len(shared), tuple(examples))

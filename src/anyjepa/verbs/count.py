"""Progress of verbs that read data once."""

from __future__ import annotations

import sys


def count(done: int, total: int) -> None:
    """A line that counts samples, on a terminal."""
    if sys.stderr.isatty():
        print(
            f"\rreading images {done}/{total}", end="\n" if done >= total else "", file=sys.stderr, flush=True
        )

"""Images that cannot be read: what is written down about them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from anyjepa.data.base import Source
from anyjepa.errors import DataError

EXPLAINED = 1000
"""How many broken images are read once more to say why."""


class Broken(NamedTuple):
    """One image that cannot be read. As text: its name, a tab, and the reason, on one line."""

    name: str
    """Its identity in the source."""
    reason: str
    """What the reader said."""

    def __str__(self) -> str:
        return "\t".join(" ".join(part.split()) for part in self)

    @classmethod
    def parse(cls, line: str) -> Broken:
        """The image a line speaks of."""
        name, _, reason = line.rstrip("\n").partition("\t")
        return cls(name, reason)


def explain(source: Source, rows: Iterable[int]) -> list[Broken]:
    """Names of the broken ``rows``, and the reasons of the first EXPLAINED, which are read again for it."""
    return [
        Broken(source.identity(i), _reason(source, i) if n < EXPLAINED else "") for n, i in enumerate(rows)
    ]


def _reason(source: Source, i: int) -> str:
    try:
        source.read(i)
    except DataError as error:
        return str(error)
    return "could not be read before, can be read now"

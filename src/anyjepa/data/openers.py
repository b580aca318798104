"""How a kind of storage is opened: a table of openers, tried in order.

An opener is a function of a place and of what was :class:`Asked`. It returns a source, or None when the place is of
another kind. It raises DataError when the place is of its kind but cannot be read. A modality is a tuple of openers
(images: ``anyjepa.data.sources.IMAGE_OPENERS``) given to :func:`first_that_opens`; a new kind of storage is one more
entry in such a tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from anyjepa.data.base import Source
from anyjepa.data.files import regular
from anyjepa.errors import DataError


@dataclass(frozen=True)
class Asked:
    """What a user asked of a source, the same for every kind of storage."""

    labels: bool = False
    """Read labels; they must then exist."""
    channels: int | None = None
    """Channels of every image; None: as the data are."""
    image_column: str | None = None
    """Name of the images where they have one; None: found."""
    label_column: str | None = None
    """Name of the labels where they have one; None: found."""
    max_pixels: int | None = None
    """Largest number of pixels of one image; None: Pillow's limit."""


Open = Callable[[str, Asked], Source | None]
"""Opens a place, or returns None when it is of another kind."""


class Opener(NamedTuple):
    """One kind of storage."""

    what: str
    """The kind in words, for errors."""
    open: Open
    """The function that opens it."""


def first_that_opens(place: str, asked: Asked, openers: Sequence[Opener]) -> Source:
    """The source of the first opener that knows the kind of ``place``.

    Raises:
        DataError: nothing is there, or no opener knows it.
    """
    for opener in openers:
        source = opener.open(place, asked)
        if source is not None:
            return source
    kinds = "; ".join(opener.what for opener in openers)
    path = Path(place).expanduser()
    if not path.exists():
        raise DataError(f"{place} does not exist; expected {kinds}")
    if path.is_dir():
        raise DataError(f"the folder {place} holds no images; expected {kinds}")
    regular(path)
    raise DataError(f"{place} is a {path.suffix or 'nameless'} file; expected {kinds}")

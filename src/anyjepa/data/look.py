"""One pass over some images of a source: sizes, values, broken ones, and a digest of the pixels of each."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt64

from anyjepa.data.base import Source
from anyjepa.data.broken import Broken
from anyjepa.errors import DataError

Progress = Callable[[int, int], None]
"""Told how many images are done, of how many."""


@dataclass
class Look:
    """What a pass has seen."""

    channels: int
    """Channels of every image."""
    looked_at: int = 0
    """Images it came to, broken ones included."""
    rows: list[int] = field(default_factory=list)
    """Rows of the readable images, in the order of the pass."""
    digests: UInt64[np.ndarray, "N"] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """A hash of the pixels of each of ``rows``: equal images have equal ones."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often each (height, width) occurs."""
    broken: list[Broken] = field(default_factory=list)
    """Images that cannot be read."""
    low: float = float("inf")
    """Least value, where 0 is black and 1 white."""
    high: float = float("-inf")
    """Largest value."""
    mean: tuple[float, ...] = ()
    """Mean of each channel over all pixels."""
    std: tuple[float, ...] = ()
    """Standard deviation of each channel over all pixels."""


def look(
    source: Source, rows: Sequence[int], seconds: float | None = None, progress: Progress | None = None
) -> Look:
    """Read ``rows`` of a source, in this order, for at most so many seconds.

    Args:
        source: the images.
        rows: which of them.
        seconds: end after the first image that is done later than this; None: read all.
        progress: told of the images done.
    """
    seen, digests, pixels = Look(source.channels), [], 0
    total, squares = np.zeros(source.channels), np.zeros(source.channels)
    end = float("inf") if seconds is None else time.monotonic() + seconds
    for done, i in enumerate(rows, start=1):
        seen.looked_at = done
        try:
            image = source.read(i)
        except DataError as error:
            seen.broken.append(Broken(source.identity(i), str(error)))
        else:
            # NumPy and not torch: most images are small, and its calls cost less.
            stored = np.ascontiguousarray(image.numpy())
            seen.rows.append(i)
            digests.append(_digest(stored))
            seen.sizes[stored.shape[1:]] += 1
            white = 255 if stored.dtype == np.uint8 else 1
            values = stored.reshape(len(stored), -1).astype(np.float64)
            pixels += values.shape[1]
            total += values.sum(1) / white
            squares += np.einsum("cp,cp->c", values, values) / white**2
            seen.low, seen.high = min(seen.low, stored.min() / white), max(seen.high, stored.max() / white)
        if progress and (done % 100 == 0 or done == len(rows)):
            progress(done, len(rows))
        if time.monotonic() > end:
            break
    seen.digests = np.array(digests, dtype=np.uint64)
    if pixels:
        mean = total / pixels
        seen.mean = tuple(mean.tolist())
        seen.std = tuple(np.sqrt(np.maximum(squares / pixels - mean**2, 0)).tolist())
        seen.low, seen.high = float(seen.low), float(seen.high)
    return seen


def _digest(pixels: np.ndarray) -> int:
    # 64 bits: among a million different images two agree by chance once in 30 million times.
    hashed = hashlib.blake2b(f"{pixels.dtype} {pixels.shape}".encode(), digest_size=8)
    hashed.update(pixels.data)
    return int.from_bytes(hashed.digest(), "little")

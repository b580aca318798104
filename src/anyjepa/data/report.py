"""What is in a data set, before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anyjepa.data.base import Source
from anyjepa.data.broken import Broken
from anyjepa.data.copies import Copies, copies_between, copies_within
from anyjepa.data.look import Progress, look
from anyjepa.data.sources import open_source
from anyjepa.errors import DataError
from anyjepa.randomness import permutation

LARGEST_DEFAULT = 224
"""Largest side chosen without being asked: the crop size of I-JEPA's ImageNet configs."""


@dataclass(frozen=True)
class DataReport:
    """What :func:`inspect` found. Sizes are (height, width) in pixels, values in 0..1."""

    count: int
    """Images in the source."""
    looked_at: int
    """Images read for this report, evenly spread over the source; all below speaks of them."""
    sizes: tuple[tuple[tuple[int, int], int], ...]
    """The most common sizes with their counts, most common first (up to 5)."""
    smallest: tuple[int, int]
    """Least height and least width."""
    largest: tuple[int, int]
    """Largest height and largest width."""
    shorter_side: int
    """Median of the shorter sides."""
    channels: int
    """Channels C every image is read with."""
    mean: tuple[float, ...]
    """Mean of each channel over all pixels."""
    std: tuple[float, ...]
    """Standard deviation of each channel over all pixels."""
    values: tuple[float, float]
    """Least and largest value."""
    broken: tuple[Broken, ...]
    """Each image that could not be read."""
    classes: int | None
    """Number of classes; None when labels are absent or were not asked for."""
    class_sizes: tuple[int, int] | None
    """Images of the rarest and of the most frequent class, over the whole source."""
    repeated: Copies
    """Images with exactly the pixels of another one."""
    shared: Copies | None = None
    """Images that are also in the source compared with; None when there is none."""
    other_looked_at: tuple[int, int] = (0, 0)
    """Images of the source compared with that were looked at, and all it has."""
    noun: str = "images"
    """What they are, in the plural."""

    @property
    def default_size(self) -> tuple[int, int]:
        """The (height, width) to train at when none is given: the images' own if they all agree and are at
        most 224, else a square of the median shorter side, at most 224, in steps of 16."""
        if self.smallest == self.largest and max(self.largest) <= LARGEST_DEFAULT:
            return self.largest
        side = min(self.shorter_side, LARGEST_DEFAULT)
        side = side // 16 * 16 if side >= 16 else side
        return (side, side)

    def __str__(self) -> str:
        kind = {1: "grey", 3: "colour"}.get(self.channels, f"{self.channels} channels")
        classes = f", {self.classes} classes" if self.classes else ", no labels"
        if self.class_sizes:
            classes += f" of {self.class_sizes[0]:,} to {self.class_sizes[1]:,} images"
        lines = [f"{self.count:,} {self.noun}, {kind}{classes}"]
        part = "all" if self.looked_at == self.count else f"{self.looked_at:,} of them"
        (height, width), often = self.sizes[0]
        if self.smallest == self.largest:
            lines.append(f"size: every one is {height} x {width} pixels high x wide (looked at {part})")
        else:
            lines.append(
                f"size: from {self.smallest[0]} to {self.largest[0]} pixels high, {self.smallest[1]} to"
                f" {self.largest[1]} wide; most often {height} x {width} ({often} times; looked at {part})"
            )
        mean, std = (", ".join(f"{v:.3f}" for v in values) for values in (self.mean, self.std))
        lines.append(f"values: mean {mean}; standard deviation {std} (0 is black, 1 is white)")
        if self.values[0] < 0 or self.values[1] > 1:
            low, high = self.values
            lines.append(
                f"attention: values reach from {low:.4g} to {high:.4g};"
                " scale them to 0..1 or set mean and std"
            )
        if self.broken:
            lines.append(f"broken: {len(self.broken)} of the images looked at; {self.broken[0].reason}")
        else:
            lines.append("broken: none of the images looked at")
        lines.append(
            _told("copies: {} repeat the pixels of another one", self.repeated, self.looked_at, self.count)
        )
        if self.shared is not None:
            told = "shared: {} are also in the other data"
            lines.append(_told(told, self.shared, self.looked_at, self.count, *self.other_looked_at))
        return "\n".join(lines)


def _told(text: str, found: Copies, *looked_and_all: int) -> str:
    pairs = list(zip(looked_and_all[::2], looked_and_all[1::2], strict=True))
    whole = all(looked == all_ for looked, all_ in pairs)
    number = f"{found.count:,}" if found.count else "none"
    line = text.format(number if whole or not found.count else f"at least {number}")
    if not whole:
        line += f" (looked at {' and '.join(f'{looked:,} of {all_:,}' for looked, all_ in pairs)})"
    return line + "".join(f"; {first} = {second}" for first, second in found.examples[:2])


def inspect(
    source: Source | str | Path,
    sample: int | None = 256,
    *,
    against: Source | str | Path | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Look at up to ``sample`` images, evenly spread over the source.

    Args:
        source: an open source, or what :func:`~anyjepa.data.sources.open_source` opens.
        sample: how many images to read at most; None: all.
        against: another source, of which as many images are read and compared with these: data for testing must not
            be among those trained on.
        seconds: read no longer than this (each source). Images are then taken in random order, so that those read
            are spread over the source all the same.
        progress: told of the images done.

    Raises:
        DataError: none of them can be read.
    """
    if not isinstance(source, Source):
        source = open_source(source)
    seen = look(source, _rows(source, sample, seconds), seconds, progress)
    if not seen.rows:
        raise DataError(f"none of the {seen.looked_at} images looked at can be read; {seen.broken[0].reason}")
    shared, other_looked_at = None, (0, 0)
    if against is not None:
        other = against if isinstance(against, Source) else open_source(against, channels=source.channels)
        others = look(other, _rows(other, sample, seconds), seconds, progress)
        shared, other_looked_at = copies_between(source, seen, other, others), (others.looked_at, len(other))
    heights, widths = zip(*seen.sizes, strict=True)
    counts = None if source.labels is None else np.unique(source.labels, return_counts=True)[1]
    return DataReport(
        count=len(source),
        looked_at=seen.looked_at,
        sizes=tuple(sorted(seen.sizes.items(), key=lambda pair: (-pair[1], pair[0]))[:5]),
        smallest=(min(heights), min(widths)),
        largest=(max(heights), max(widths)),
        shorter_side=int(np.median([min(size) for size in seen.sizes.elements()])),
        channels=source.channels,
        mean=seen.mean,
        std=seen.std,
        values=(seen.low, seen.high),
        broken=tuple(seen.broken),
        classes=source.classes,
        class_sizes=None if counts is None else (int(counts.min()), int(counts.max())),
        repeated=copies_within(source, seen),
        shared=shared,
        other_looked_at=other_looked_at,
    )


def _rows(source: Source, sample: int | None, seconds: float | None) -> list[int]:
    count = len(source) if sample is None else min(sample, len(source))
    rows = np.unique(np.linspace(0, len(source) - 1, count).astype(int))
    return (rows if seconds is None else rows[permutation(0, "data/report", 0, len(rows))]).tolist()

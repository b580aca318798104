"""What is in a data set, before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from anyjepa.data.base import Source
from anyjepa.data.sources import open_source
from anyjepa.errors import DataError

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
    broken: tuple[str, ...]
    """One text for each image that could not be read."""
    classes: int | None
    """Number of classes; None when labels are absent or were not asked for."""

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
        lines = [
            f"{self.count:,} images, {kind}"
            + (f", {self.classes} classes" if self.classes else ", no labels")
        ]
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
            lines.append(f"broken: {len(self.broken)} of the images looked at; {self.broken[0]}")
        else:
            lines.append("broken: none of the images looked at")
        return "\n".join(lines)


def inspect(source: Source | str | Path, sample: int = 256) -> DataReport:
    """Look at up to ``sample`` images, evenly spread over the source.

    Args:
        source: an open source, or what :func:`~anyjepa.data.sources.open_source` opens.
        sample: how many images to read at most.

    Raises:
        DataError: none of them can be read.
    """
    if not isinstance(source, Source):
        source = open_source(source)
    rows = np.unique(np.linspace(0, len(source) - 1, min(sample, len(source))).astype(int)).tolist()
    sizes: Counter[tuple[int, int]] = Counter()
    broken: list[str] = []
    pixels = 0
    total = squares = torch.zeros(source.channels, dtype=torch.float64)
    low, high = float("inf"), float("-inf")
    for i in rows:
        try:
            image = source.read(i)
        except DataError as error:
            broken.append(str(error))
            continue
        values = image.double() / (255 if image.dtype == torch.uint8 else 1)
        sizes[(image.shape[1], image.shape[2])] += 1
        pixels += image.shape[1] * image.shape[2]
        total, squares = total + values.sum((1, 2)), squares + values.square().sum((1, 2))
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if not sizes:
        raise DataError(f"none of the {len(rows)} images looked at can be read; {broken[0]}")
    mean = total / pixels
    std = (squares / pixels - mean.square()).clamp_min(0).sqrt()
    heights, widths = zip(*sizes, strict=True)
    return DataReport(
        count=len(source),
        looked_at=len(rows),
        sizes=tuple(sizes.most_common(5)),
        smallest=(min(heights), min(widths)),
        largest=(max(heights), max(widths)),
        shorter_side=int(np.median([min(size) for size in sizes.elements()])),
        channels=source.channels,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        values=(low, high),
        broken=tuple(broken),
        classes=source.classes,
    )

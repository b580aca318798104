"""What is found in recordings before training: how many, how long, which leads, which labels, what is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anyjepa.data.broken import Broken
from anyjepa.data.ecg_segments import EcgSegments
from anyjepa.errors import DataError

LOOKED_AT = 500
"""Recordings that are read for the report, evenly spread."""
_LABELS = 6


@dataclass(frozen=True)
class EcgReport:
    """Counts of some recordings."""

    recordings: int
    """Recordings that can be used."""
    samples: int
    """Samples they give."""
    patients: int
    """Persons they are of."""
    hours: float
    """Length of all whose length is known."""
    seconds: tuple[float, float]
    """Shortest and longest of them."""
    leads: tuple[str, ...]
    """Leads of a sample."""
    rate: float
    """Its sampling rate in Hz."""
    length: float
    """Its length in seconds."""
    looked_at: int
    """Recordings that were read, and those that could not be."""
    missing: dict[str, int]
    """Of those read: how often each lead was missing and is zero."""
    derived: dict[str, int]
    """How often each was computed from I and II."""
    flat: dict[str, int]
    """How often each held one value and is zero."""
    filled: int
    """Values that were not finite and were interpolated."""
    short: int
    """Recordings left out because they are shorter than a sample."""
    labels: dict[str, int]
    """Recordings with each label."""
    broken: tuple[Broken, ...]
    """Recordings that cannot be read."""

    def __str__(self) -> str:
        low, high = self.seconds
        long = f"{low:.3g} s" if low == high else f"{low:.3g} to {high:.4g} s"
        lines = [
            f"{self.recordings} recordings of {self.patients} persons, {long}, {self.hours:.3g} hours in all",
            f"samples: {self.samples} of {self.length:g} s at {self.rate:g} Hz, leads {', '.join(self.leads)}",
        ]
        for what, counts in (
            ("missing, zero instead", self.missing),
            ("computed from I and II", self.derived),
            ("flat, zero instead", self.flat),
        ):
            if counts:
                told = ", ".join(f"{lead} {n}" for lead, n in counts.items())
                lines.append(
                    f"leads {what}, in how many of {self.looked_at - len(self.broken)} looked at: {told}"
                )
        if self.filled:
            lines.append(f"values that are not finite, interpolated: {self.filled}")
        if self.labels:
            first = ", ".join(f"{name} {n}" for name, n in list(self.labels.items())[:_LABELS])
            lines.append(f"labels: {len(self.labels)} ({first}{', ...' * (len(self.labels) > _LABELS)})")
        if self.short:
            lines.append(f"left out: {self.short} shorter than {self.length:g} s")
        if self.broken:
            lines.append(f"cannot be read: {len(self.broken)}; the first: {self.broken[0].reason}")
        return "\n".join(lines)


def look_at_recordings(source: EcgSegments, progress: Callable[[int, int], None] | None = None) -> EcgReport:
    """Read up to ``LOOKED_AT`` recordings and count.

    Args:
        source: the recordings.
        progress: called with (recordings read, those to read).

    Raises:
        DataError: none of them can be read.
    """
    every = [(part, i) for part in source.parts for i in range(len(part))]
    broken = [Broken(text.partition(": ")[0], text) for part in source.parts for text in part.broken]
    missing, derived, flat = Counter[str](), Counter[str](), Counter[str]()
    count = min(LOOKED_AT, len(every))
    filled = read = 0
    for done, row in enumerate(np.arange(count) * len(every) // count, start=1):
        part, i = every[row]
        try:
            x, found = part.examine(i)
            if x.shape[1] < source.samples:
                raise DataError(f"{part.identity(i)} has {x.shape[1] / part.rate:.3g} s, less than a sample")
        except DataError as error:
            broken.append(Broken(part.identity(i), str(error)))
        else:
            read += 1
            missing.update(found.missing)
            derived.update(found.derived)
            flat.update(found.flat)
            filled += found.filled
        if progress is not None:
            progress(done, count)
    if not read:
        raise DataError(
            f"none of the {len(broken)} recordings looked at in {source.parts[0].where} can be read; the first: "
            f"{broken[0].reason}"
        )
    seconds = np.concatenate([part.seconds for part in source.parts])
    known = (
        seconds[np.isfinite(seconds)]
        if np.isfinite(seconds).any()
        else np.array([source.samples / source.rate])
    )
    labels = Counter[str]()
    for part in source.parts:
        if part.labels is not None:
            labels.update(dict(zip(part.label_names, part.labels.sum(axis=0).tolist(), strict=True)))
    return EcgReport(
        recordings=len(every),
        samples=len(source),
        patients=len(np.unique(source.groups)),
        hours=float(known.sum()) / 3600,
        seconds=(float(known.min()), float(known.max())),
        leads=source.leads,
        rate=source.rate,
        length=source.samples / source.rate,
        looked_at=read + len(broken),
        missing=dict(missing.most_common()),
        derived=dict(derived.most_common()),
        flat=dict(flat.most_common()),
        filled=filled,
        short=sum(len(part.skipped) - len(part.broken) for part in source.parts),
        labels={name: n for name, n in labels.most_common() if n},
        broken=tuple(broken),
    )

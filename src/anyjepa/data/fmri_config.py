"""How brain scans are read, and what was found in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from anyjepa.data.broken import Broken
from anyjepa.data.roi_scaling import RoiScaling
from anyjepa.errors import ConfigError

LONGEST = 160
"""Frames of a clip chosen without being asked: those of the paper."""


@dataclass(frozen=True)
class FmriConfig:
    """How scans are read and cut into clips. Defaults: Brain-JEPA (arXiv 2409.19407), repaired where its code slips."""

    table: str | None = None
    """File (.csv or .tsv, a line per subject) with subject, site, age, sex, diagnosis, TR; None: ``participants.tsv`` beside the
    scans, if there is one."""
    label_column: str | None = None
    """Column of the table that is the label: its own name (DX_GROUP), or ``age``, ``sex``, ``diagnosis``, ``site`` under any
    usual name. Scans without an entry are left out."""
    sites: tuple[str, ...] | None = None
    """Use the scans of these sites alone; None: of all."""
    group_by: Literal["subject", "site"] = "subject"
    """What is never in training and in test at once: a subject, or a whole site."""
    atlas: str | None = None
    """3-D image of labels, whose regions 4-D NIfTI images are averaged over; none of the other formats needs one."""
    rois: int | None = None
    """Regions of every scan; None: those of most scans."""
    roi_first: bool = False
    """Rows of the stored tables are regions. Else they are frames, as in the files of the field."""
    tr: float | None = None
    """Seconds from frame to frame of all scans; None: from the table (column ``tr``), the file beside a scan, or its header;
    where nothing says it, scans are taken at their own rate."""
    target_tr: float = 2.0
    """Seconds from frame to frame of a clip (about 2 s in the paper)."""
    rate: Literal["linear", "stride"] = "linear"
    """How a scan comes to ``target_tr``: by interpolation at the exact rate, or by every so many-th frame, the nearest whole
    number (official: every third of the UK Biobank's)."""
    frames: int | None = None
    """Frames of a clip; None: what every scan has, at most 160 as in the paper, in steps of 16."""
    short: Literal["refuse", "drop", "pad"] = "refuse"
    """What becomes of scans that are too short for a clip: an error, left out and counted, or filled with zeros that are marked
    as not valid."""
    max_broken: float = 0.1
    """Largest share of scans that may be left out because they cannot be read, have other regions, no frame or no value."""
    limit: int | None = None
    """Use that many scans, evenly spread over all; None: all."""
    scaling: RoiScaling = field(default_factory=RoiScaling)
    """Scale of the values; the default needs no statistics and leaves no constant offset, which can make pretraining collapse.
    The statistics of the others are those of the training scans, and stay in the config of the run."""
    gradients: int = 30
    """Gradients of connectivity that place the regions (30 in the paper), computed from the training scans; they stay in the
    config of the run. 0: none."""
    sparsity: float = 0.0
    """Share of the weakest connections of a region that is left out of the gradients; see
    :func:`~anyjepa.data.gradients.affinity`."""
    gradients_from: str | None = None
    """File with the coordinates of the regions (.csv or .npy, a row per region), instead of computing them."""

    def __post_init__(self) -> None:
        for name in ("rois", "tr", "target_tr", "frames", "limit"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        if not 0 <= self.max_broken <= 1:
            raise ConfigError(f"max_broken is a share in 0..1, got {self.max_broken}")
        if self.gradients < 0 or not 0 <= self.sparsity < 1:
            raise ConfigError(
                f"gradients must be at least 0 and sparsity in 0..1, got {self.gradients} and {self.sparsity}"
            )

    @property
    def clip(self) -> int:
        """Frames of a clip, once they are known."""
        return self.frames or LONGEST


@dataclass(frozen=True)
class FmriReport:
    """What was found in the scans, and what was done about it. ``str()`` of it is for people."""

    scans: int
    """Scans that are used."""
    subjects: int
    """Different subjects."""
    sites: int
    """Different sites; 0: unknown."""
    rois: int
    """Regions of each scan."""
    frames: tuple[int, int]
    """Fewest and most frames as stored."""
    tr: tuple[float | None, ...]
    """Different repetition times, seconds; None: unknown."""
    flat: int
    """Regions of single scans that do not vary: they are set to 0."""
    missing: int
    """Regions of single scans with at least one missing value: those values are set to 0."""
    short: int
    """Scans too short for a clip: left out, or padded."""
    broken: tuple[Broken, ...]
    """Each scan that was left out, and what was wrong with it."""
    unmatched: int
    """Scans that are not in the table."""

    clip: tuple[int, float] = (LONGEST, 2.0)
    """Frames of a clip, and seconds from one to the next."""

    @property
    def looked_at(self) -> int:
        """Scans that were read: all."""
        return self.scans + len(self.broken)

    def __str__(self) -> str:
        trs = ", ".join("unknown" if t is None else f"{t:g} s" for t in self.tr)
        lines = [
            f"{self.scans} scans of {self.subjects} subjects"
            + (f" from {self.sites} sites" if self.sites else "")
            + f": {self.rois} regions, {self.frames[0]} to {self.frames[1]} frames, TR {trs}",
            f"clips of {self.clip[0]} frames at {self.clip[1]:g} s"
            + (" where the TR is known: give it as tr, or in the table" if None in self.tr else ""),
        ]
        for count, what in (
            (self.flat, "regions of single scans do not vary and are 0"),
            (self.missing, "regions of single scans miss values, which are 0"),
            (self.short, "scans are too short for a clip"),
            (self.unmatched, "scans are not in the table"),
        ):
            if count:
                lines.append(f"{count} {what}")
        if self.broken:
            lines.append(f"{len(self.broken)} scans were left out; the first: {self.broken[0].reason}")
        return "\n".join(lines)

"""Resting-state fMRI as numbered scans: series of brain regions with subject, site, age, sex and diagnosis, and clips of them."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyjepa.data.nifti import ENDINGS as IMAGE_ENDINGS
from anyjepa.data.nifti import find_images, read_image
from anyjepa.data.roi_files import ENDINGS, Read, Series, find_series, read_series
from anyjepa.data.roi_scaling import FLAT, RoiScaling, clip_frames, take_clip
from anyjepa.data.subjects import SubjectTable, read_subjects, subject_of
from anyjepa.errors import ConfigError, DataError
from anyjepa.randomness import uniform


@dataclass(frozen=True)
class FmriConfig:
    """How scans are read and cut into clips. Defaults: Brain-JEPA (arXiv 2409.19407), repaired where its code slips."""

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
    frames: int = 160
    """Frames of a clip (160 in the paper)."""
    short: Literal["refuse", "drop", "pad"] = "refuse"
    """What becomes of scans that are too short for a clip: an error, left out and counted, or filled with zeros that are marked
    as not valid."""
    broken: Literal["refuse", "drop"] = "refuse"
    """What becomes of scans that cannot be read, have other regions, no frame or no value: an error, or left out and counted."""
    scaling: RoiScaling = field(default_factory=RoiScaling)
    """Scale of the values; the default needs no statistics and leaves no constant offset, which can make pretraining collapse."""

    def __post_init__(self) -> None:
        for name in ("rois", "tr", "target_tr", "frames"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be above 0, got {value}")


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
    broken: tuple[str, ...]
    """What was wrong with each scan that was left out."""
    unmatched: int
    """Scans that are not in the table."""

    def __str__(self) -> str:
        trs = ", ".join("unknown" if t is None else f"{t:g} s" for t in self.tr)
        lines = [
            f"{self.scans} scans of {self.subjects} subjects"
            + (f" from {self.sites} sites" if self.sites else "")
            + f": {self.rois} regions, {self.frames[0]} to {self.frames[1]} frames, TR {trs}"
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
            lines.append(f"{len(self.broken)} scans were left out; the first: {self.broken[0]}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Scan:
    """Where a scan lies, and what was seen of it when the source was opened."""

    name: str
    where: Series | Path
    frames: int
    tr: float | None
    short: bool


class FmriSource:
    """A numbered list of scans. Made by :meth:`open`; it survives pickling to workers.

    Attributes:
        config: how they are read.
        report: what was found.
        rois: regions R of every scan.
        roi_names: names of the regions where the files have them.
        table: the subjects, where a table was given.
    """

    def __init__(
        self,
        scans: Sequence[_Scan],
        config: FmriConfig,
        report: FmriReport,
        roi_names: tuple[str, ...] | None,
        table: SubjectTable | None,
        atlas: Path | None,
    ) -> None:
        self._scans, self.config, self.report = list(scans), config, report
        self.rois, self.roi_names, self.table, self._atlas = report.rois, roi_names, table, atlas

    @classmethod
    def open(
        cls,
        path: str | Path,
        config: FmriConfig | None = None,
        *,
        table: str | Path | None = None,
        atlas: str | Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> FmriSource:
        """The scans of a file or folder; each is read once, to find what is wrong before training does.

        Args:
            path: a file of series (``.npz`` with one array (T, R) per scan, ``.npy``, ``.csv``, ``.tsv``, ``.1D``, ``.txt``), a
                folder of such files at any nesting, a 4-D NIfTI image or a folder of them.
            config: how to read them.
            table: .csv or .tsv with a line per subject; see :func:`~anyjepa.data.subjects.read_subjects`.
            atlas: 3-D image of labels, for NIfTI images.
            progress: called with (scans read, scans in all).

        Raises:
            DataError: there are no scans, or some are broken or too short and the config refuses that.
        """
        config, place = config or FmriConfig(), Path(path).expanduser()
        found = _find(place, None if atlas is None else Path(atlas))
        lines = None if table is None else read_subjects(table, [name for name, _ in found])
        seen = _look(found, config, lines, None if atlas is None else Path(atlas), progress)
        return seen.source(cls, config, lines, None if atlas is None else Path(atlas))

    def __len__(self) -> int:
        return len(self._scans)

    def identity(self, i: int) -> str:
        """Name of scan ``i``."""
        return self._scans[i].name

    def tr(self, i: int) -> float | None:
        """Seconds from frame to frame of scan ``i`` as stored; None when unknown."""
        return self._scans[i].tr

    def frames(self, i: int) -> int:
        """Frames of scan ``i`` as stored."""
        return self._scans[i].frames

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject of each scan: from the table, else from its name."""
        names = [subject_of(scan.name) for scan in self._scans]
        if self.table is None or self.table.name_of("subject") is None:
            return tuple(names)
        return tuple(
            name if known is None else known
            for name, known in zip(names, self.table.values("subject"), strict=True)
        )

    @property
    def sites(self) -> tuple[str | None, ...]:
        """Site of each scan; None where unknown."""
        if self.table is None or self.table.name_of("site") is None:
            return (None,) * len(self)
        return tuple(self.table.values("site"))

    def numbers(self, column: str) -> Float[np.ndarray, "N"]:
        """A column of the table for each scan as numbers, NaN where missing: ``"age"``; raises DataError without it."""
        return self._known().numbers(column)

    def classes(self, column: str) -> tuple[Int[np.ndarray, "N"], tuple[str, ...]]:
        """A column of the table as classes, -1 where missing, and their names: ``"sex"``, ``"diagnosis"``."""
        return self._known().classes(column)

    def read(self, i: int) -> Float[np.ndarray, "R T"]:
        """Scan ``i`` as stored, NaN where values are missing; raises DataError when it cannot be read any more."""
        return _load(self._scans[i].where, self.config, self._atlas).values

    def scans(self, indices: Sequence[int] | np.ndarray | None = None) -> Iterator[Float[np.ndarray, "R T"]]:
        """Scans as stored, one after the other; None: all."""
        for i in range(len(self)) if indices is None else indices:
            yield self.read(int(i))

    def clip(self, i: int, u: float = 0.5) -> tuple[Float[Tensor, "R n"], Bool[Tensor, "n"]]:
        """A scaled clip of scan ``i``, and which of its frames are not padding.

        Args:
            i: the scan.
            u: where the clip begins, from 0 (as early as can be) to 1 (as late); the middle unless told.
        """
        scan = self._scans[i]
        ratio = _ratio(scan.tr, self.config)
        scaled = self.config.scaling.apply(self.read(i))
        values, valid = take_clip(scaled, ratio, self.config.frames, u, how=self.config.rate)
        return torch.from_numpy(values), torch.from_numpy(valid)

    def batch(
        self, indices: Int[Tensor, "B"], *, seed: int = 0, step: int = 0, random: bool = True
    ) -> Float[Tensor, "B 1 R n"]:
        """Clips of some scans, as a method takes them.

        Args:
            indices: the scans.
            seed: seed of the run.
            step: optimizer step; with the seed and the number of a scan it decides where its clip begins.
            random: else the middle of each scan is taken, as it should be to evaluate.
        """
        starts = (
            uniform(seed, "fmri/clip", step, indices.numpy(), 1)[:, 0] if random else [0.5] * len(indices)
        )
        clips = [self.clip(i, float(u))[0] for i, u in zip(indices.tolist(), starts, strict=True)]
        return torch.stack(clips).unsqueeze(1)

    def write(self, path: str | Path) -> None:
        """All scans as stored in one ``.npz`` (an array (T, R) for each, under its name), whole or not at all.

        Images are averaged over the atlas whenever they are read: before training write them once and open the result.

        Raises:
            DataError: it cannot be written, or two scans have one name.
        """
        path = Path(path)
        names = [scan.name for scan in self._scans]
        if len(set(names)) < len(names):
            raise DataError("scans of the same name cannot be written to one file: rename their files")
        part = path.with_name(f".{path.name}.partial.npz")
        try:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                for i, name in enumerate(names):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        np.lib.format.write_array(
                            file, np.ascontiguousarray(self.read(i).T), allow_pickle=False
                        )
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DataError(f"cannot write {path}: {error.strerror}") from error

    def with_scaling(self, scaling: RoiScaling) -> FmriSource:
        """The same scans under another scaling, as :func:`~anyjepa.data.roi_scaling.fit_scaling` makes it."""
        config = replace(self.config, scaling=scaling)
        return FmriSource(self._scans, config, self.report, self.roi_names, self.table, self._atlas)

    def _known(self) -> SubjectTable:
        if self.table is None:
            raise DataError("labels need the table of the subjects: open the scans with table=FILE")
        return self.table


@dataclass
class _Seen:
    """What :func:`_look` found, in the order of the scans."""

    scans: list[_Scan] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    names: tuple[str, ...] | None = None
    rois: int = 0
    flat: int = 0
    missing: int = 0
    short: int = 0

    def source(
        self, cls: type[FmriSource], config: FmriConfig, table: SubjectTable | None, atlas: Path | None
    ) -> FmriSource:
        """The source of the scans that are used."""
        if table is not None:
            table = replace(table, lines=table.lines[self.kept])
        trs = sorted({s.tr for s in self.scans}, key=lambda t: t or 0.0)
        report = FmriReport(
            scans=len(self.scans),
            subjects=0,
            sites=0,
            rois=self.rois,
            frames=(min(s.frames for s in self.scans), max(s.frames for s in self.scans)),
            tr=tuple(trs),
            flat=self.flat,
            missing=self.missing,
            short=self.short,
            broken=tuple(self.broken),
            unmatched=0 if table is None else int((table.lines < 0).sum()),
        )
        found = cls(self.scans, config, report, self.names, table, atlas)
        known = {site for site in found.sites if site is not None}
        found.report = replace(report, subjects=len(set(found.subjects)), sites=len(known))
        return found


def _find(place: Path, atlas: Path | None) -> list[tuple[str, Series | Path]]:
    if not place.exists():
        raise DataError(f"{place} does not exist; expected a file or folder of region series or NIfTI images")
    images: list[Path] = []
    if place.is_dir():
        images = [f for f in find_images(place) if atlas is None or f.resolve() != atlas.resolve()]
    elif place.name.lower().endswith(IMAGE_ENDINGS):
        images = [place]
    if images and atlas is None:
        raise DataError(
            f"{images[0]} is a brain image: give the atlas whose regions are to be averaged (atlas=FILE)"
        )
    if images:
        return [(_stem(f), f) for f in images]
    series = find_series(place)
    if not series:
        raise DataError(
            f"{place} holds no scans: expected region series ({', '.join(ENDINGS)}) or NIfTI images ({', '.join(IMAGE_ENDINGS)})"
        )
    return [(s.name, s) for s in series]


def _look(
    found: list[tuple[str, Series | Path]],
    config: FmriConfig,
    table: SubjectTable | None,
    atlas: Path | None,
    progress: Callable[[int, int], None] | None,
) -> _Seen:
    """Read every scan once: shapes first, for the regions that most of them have; then what is wrong with each."""
    shapes: list[tuple[int, int] | str] = []
    facts: list[tuple[int, int, float | None]] = []
    names: Counter[tuple[str, ...]] = Counter()
    times = _times(table, len(found))
    for i, (name, where) in enumerate(found):
        try:
            read = _load(where, config, atlas)
            names.update([read.names] if read.names else [])
            shapes.append((read.values.shape[0], read.values.shape[1]))
            facts.append((*_defects(read.values), config.tr or times[i] or read.tr))
            if read.values.size and not np.isfinite(read.values).any():
                shapes[-1] = f"scan {name} holds no value"
        except DataError as error:
            shapes.append(str(error))
            facts.append((0, 0, None))
        if progress is not None:
            progress(i + 1, len(found))
    counts = Counter(s[0] for s in shapes if not isinstance(s, str))
    seen = _Seen(rois=config.rois or (counts.most_common(1)[0][0] if counts else 0))
    lengths = []
    for i, ((name, where), shape) in enumerate(zip(found, shapes, strict=True)):
        if isinstance(shape, str) or shape[0] != seen.rois or shape[1] == 0:
            seen.broken.append(shape if isinstance(shape, str) else _wrong(name, shape, seen.rois))
            continue
        have = clip_frames(shape[1], _ratio(facts[i][2], config), config.rate)
        short = have < config.frames
        lengths.append(have)
        seen.short += short
        if short and config.short == "drop":
            continue
        seen.flat, seen.missing = seen.flat + facts[i][0], seen.missing + facts[i][1]
        seen.scans.append(_Scan(name, where, shape[1], facts[i][2], short))
        seen.kept.append(i)
    seen.names = next((n for n, _ in names.most_common() if len(n) == seen.rois), None)
    _judge(seen, len(found), config, lengths)
    return seen


def _judge(seen: _Seen, total: int, config: FmriConfig, lengths: list[int]) -> None:
    """Raise what the config refuses."""
    if seen.broken and config.broken == "refuse":
        raise DataError(
            f"{len(seen.broken)} of {total} scans cannot be used; the first: {seen.broken[0]} (broken=drop leaves them out)"
        )
    if seen.short and config.short == "refuse":
        raise DataError(
            f"{seen.short} of {total} scans are shorter than a clip of {config.frames} frames at {config.target_tr:g} s: use "
            f"frames={min(lengths)} or less, short=drop to leave them out, or short=pad"
        )
    if not seen.scans:
        raise DataError(f"none of {total} scans can be used" + (f": {seen.broken[0]}" if seen.broken else ""))


def _wrong(name: str, shape: tuple[int, int], rois: int) -> str:
    if shape[1] == 0 or shape[0] == 0:
        return f"scan {name} has no frame"
    turned = "; its rows look like regions: use roi_first" if shape[1] == rois else ""
    return f"scan {name} has {shape[0]} regions and {shape[1]} frames, expected {rois} regions{turned}"


def _defects(values: Float[np.ndarray, "R T"]) -> tuple[int, int]:
    """Regions that do not vary, and regions with missing values."""
    known = np.isfinite(values)
    whole = known.all(axis=1)
    x = values[whole]
    flat = int((x.std(axis=1, dtype=np.float64) <= FLAT * np.abs(x).max(axis=1)).sum()) if x.size else 0
    return flat, int((~whole).sum())


def _times(table: SubjectTable | None, scans: int) -> list[float | None]:
    """The repetition time the table has for each scan; None where it has none."""
    if table is None or table.name_of("tr") is None:
        return [None] * scans
    return [None if np.isnan(v) or v <= 0 else float(v) for v in table.numbers("tr")]


def _ratio(tr: float | None, config: FmriConfig) -> float:
    return 1.0 if tr is None else config.target_tr / tr


def _load(where: Series | Path, config: FmriConfig, atlas: Path | None) -> Read:
    if isinstance(where, Series):
        return read_series(where, roi_first=config.roi_first)
    assert atlas is not None
    image = read_image(where, atlas)
    return Read(image.values, tuple(map(str, image.labels)), image.tr)


def _stem(path: Path) -> str:
    return next(path.name[: -len(e)] for e in reversed(IMAGE_ENDINGS) if path.name.lower().endswith(e))

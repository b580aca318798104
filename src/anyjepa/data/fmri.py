"""Resting-state fMRI as numbered scans: series of brain regions with subject, site, age, sex and diagnosis, and clips of them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyjepa.data.fmri_config import FmriConfig, FmriReport
from anyjepa.data.fmri_look import Scan, find_scans, frame_ratio, load_scan, look
from anyjepa.data.roi_files import Series
from anyjepa.data.roi_scaling import RoiScaling, take_clip
from anyjepa.data.subjects import SubjectTable, is_number, read_subjects, subject_of
from anyjepa.errors import DataError, nearest
from anyjepa.randomness import uniform

__all__ = ["FmriConfig", "FmriReport", "FmriSource"]


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
        scans: Sequence[Scan],
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
            table: .csv or .tsv with a line per subject; see :func:`~anyjepa.data.subjects.read_subjects`. None: that of the
                config.
            atlas: 3-D image of labels, for NIfTI images. None: that of the config.
            progress: called with (scans read, scans in all).

        Raises:
            DataError: there are no scans, or some are broken or too short and the config refuses that.
        """
        config, place = config or FmriConfig(), Path(path).expanduser()
        people = _file(table or config.table) or _beside(place)
        labels = _file(atlas or config.atlas)
        found = find_scans(place, labels, people)
        lines = None if people is None else read_subjects(people, [name for name, _ in found])
        return cls._of(found, config, lines, labels, progress)

    @classmethod
    def of(cls, scans: Iterable[Any], config: FmriConfig | None = None) -> FmriSource:
        """Scans that are in memory: arrays (T, R), or (R, T) with ``roi_first``. They are named by their number.

        Raises:
            DataError: as for :meth:`open`.
        """
        config = config or FmriConfig()
        found = []
        for i, scan in enumerate(scans):
            values = np.asarray(scan)
            if values.ndim != 2 or values.dtype.kind not in "fiu":
                raise DataError(
                    f"scan {i} must be a table of numbers (frames, regions), got {values.dtype} of shape {values.shape}"
                )
            turned = values if config.roi_first else values.T
            found.append((str(i), np.ascontiguousarray(turned, dtype=np.float32)))
        if not found:
            raise DataError("there are no scans")
        return cls._of(found, config, None, None, None)

    @classmethod
    def _of(
        cls,
        found: Sequence[tuple[str, Series | Path | np.ndarray]],
        config: FmriConfig,
        lines: SubjectTable | None,
        atlas: Path | None,
        progress: Callable[[int, int], None] | None,
    ) -> FmriSource:
        if config.sites is not None:
            there = [None] * len(found) if lines is None else lines.values("site")
            rows = _at(there, config.sites)
            found = [found[i] for i in rows]
            lines = None if lines is None else replace(lines, lines=lines.lines[rows])
        seen = look(found, config, lines, atlas, progress)
        config = replace(config, frames=seen.clip)
        if lines is not None:
            lines = replace(lines, lines=lines.lines[seen.kept])
        report = FmriReport(
            scans=len(seen.scans),
            subjects=0,
            sites=0,
            rois=seen.rois,
            frames=(min(s.frames for s in seen.scans), max(s.frames for s in seen.scans)),
            tr=tuple(sorted({s.tr for s in seen.scans}, key=lambda t: t or 0.0)),
            flat=seen.flat,
            missing=seen.missing,
            short=seen.short,
            broken=tuple(seen.broken),
            unmatched=0 if lines is None else int((lines.lines < 0).sum()),
            clip=(seen.clip, config.target_tr),
        )
        opened = cls(seen.scans, config, report, seen.names, lines, atlas)
        if config.limit is not None and config.limit < len(opened):
            opened = opened.subset(np.arange(config.limit) * len(opened) // config.limit)
        known = {site for site in opened.sites if site is not None}
        opened.report = replace(
            report, scans=len(opened), subjects=len(set(opened.subjects)), sites=len(known)
        )
        return opened

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

    def ratio(self, i: int) -> float:
        """Frames of scan ``i`` for each of a clip; 1 where its repetition time is unknown."""
        return frame_ratio(self._scans[i].tr, self.config)

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
        return load_scan(self._scans[i].where, self.config, self._atlas).values

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
        scaled = self.config.scaling.apply(self.read(i))
        values, valid = take_clip(scaled, self.ratio(i), self.config.clip, u, how=self.config.rate)
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

    def subset(self, indices: Sequence[int] | Int[np.ndarray, "n"]) -> FmriSource:
        """Some of the scans, say those of the training subjects; the report stays that of all."""
        rows = [int(i) for i in indices]
        table = None if self.table is None else replace(self.table, lines=self.table.lines[rows])
        scans = [self._scans[i] for i in rows]
        return FmriSource(scans, self.config, self.report, self.roi_names, table, self._atlas)

    def labels(self, column: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
        """A column of the table as a label for each scan: values (and None), or classes and their names; see
        :func:`~anyjepa.data.subjects.is_number`.

        Raises:
            DataError: there is no such column, or a scan has no entry in it: see :meth:`known`.
        """
        table = self._known()
        values = table.values(column)
        if missing := sum(v is None for v in values):
            raise DataError(
                f"{missing} of {len(values)} scans have no '{column}' in {table.path}: leave them out, or fill the column in"
            )
        if is_number(values):
            return table.numbers(column), None
        return table.classes(column)

    def known(self, column: str) -> Int[np.ndarray, "n"]:
        """The scans with an entry in a column of the table; raises DataError when there is none."""
        table = self._known()
        rows = np.flatnonzero([value is not None for value in table.values(column)])
        if not len(rows):
            raise DataError(f"no scan has an entry in the column '{column}' of {table.path}")
        return rows

    def _known(self) -> SubjectTable:
        if self.table is None:
            raise DataError(
                "labels need the table of the subjects: open the scans with table=FILE (--fmri.table FILE, --read table=FILE)"
            )
        return self.table


def _file(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path).expanduser()


def _beside(place: Path) -> Path | None:
    """The table of a BIDS data set: in the folder of the scans, or beside their file."""
    table = (place if place.is_dir() else place.parent) / "participants.tsv"
    return table if table.is_file() else None


def _at(sites: Sequence[str | None], wanted: Sequence[str]) -> list[int]:
    known = sorted({site for site in sites if site is not None})
    if not known:
        raise DataError("the site of no scan is known: give a table with a column 'site'")
    for site in wanted:
        if site not in known:
            raise DataError(f"no scan is from site '{site}': {nearest(site, known)}")
    return [i for i, site in enumerate(sites) if site in wanted]

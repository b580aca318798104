"""The first look at brain scans: what there is, what is wrong with it, and which of it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anyjepa.data.broken import Broken
from anyjepa.data.fmri_config import LONGEST, FmriConfig
from anyjepa.data.nifti import ENDINGS as IMAGE_ENDINGS
from anyjepa.data.nifti import find_images, read_image
from anyjepa.data.roi_files import ENDINGS, Read, Series, find_series, read_series
from anyjepa.data.roi_scaling import FLAT, clip_frames
from anyjepa.data.subjects import SubjectTable
from anyjepa.errors import DataError


@dataclass(frozen=True)
class Scan:
    """Where a scan lies, and what was seen of it when the source was opened."""

    name: str
    where: Series | Path | np.ndarray
    frames: int
    tr: float | None
    short: bool


@dataclass
class Seen:
    """What :func:`_look` found, in the order of the scans."""

    scans: list[Scan] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    names: tuple[str, ...] | None = None
    rois: int = 0
    clip: int = 0
    flat: int = 0
    missing: int = 0
    short: int = 0


def find_scans(place: Path, atlas: Path | None, table: Path | None = None) -> list[tuple[str, Series | Path]]:
    """Name and place of every scan behind a path; raises DataError when there is none."""
    if not place.exists():
        raise DataError(f"{place} does not exist; expected a file or folder of region series or NIfTI images")
    images: list[Path] = []
    if place.is_dir():
        images = [f for f in find_images(place) if atlas is None or f.resolve() != atlas.resolve()]
    elif place.name.lower().endswith(IMAGE_ENDINGS):
        images = [place]
    if images and atlas is None:
        raise DataError(
            f"{images[0]} is a brain image: give the atlas whose regions are to be averaged (atlas=FILE, --fmri.atlas FILE)"
        )
    if images:
        return [(_stem(f), f) for f in images]
    # The table of the people may lie among the series, and look like one.
    series = [s for s in find_series(place) if table is None or s.path.resolve() != table.resolve()]
    if not series:
        raise DataError(
            f"{place} holds no scans: expected region series ({', '.join(ENDINGS)}) or NIfTI images ({', '.join(IMAGE_ENDINGS)})"
        )
    return [(s.name, s) for s in series]


def look(
    found: Sequence[tuple[str, Series | Path | np.ndarray]],
    config: FmriConfig,
    table: SubjectTable | None,
    atlas: Path | None,
    progress: Callable[[int, int], None] | None,
) -> Seen:
    """Read every scan once: shapes first, for the regions that most of them have; then what is wrong with each."""
    shapes: list[tuple[int, int] | str] = []
    facts: list[tuple[int, int, float | None]] = []
    names: Counter[tuple[str, ...]] = Counter()
    times = _times(table, len(found))
    for i, (name, where) in enumerate(found):
        try:
            read = load_scan(where, config, atlas)
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
    seen = Seen(rois=config.rois or (counts.most_common(1)[0][0] if counts else 0))
    lengths: list[int] = []
    whole: list[tuple[int, int, int]] = []
    for i, ((name, _), shape) in enumerate(zip(found, shapes, strict=True)):
        if isinstance(shape, str) or shape[0] != seen.rois or shape[1] == 0:
            seen.broken.append(
                Broken(name, shape if isinstance(shape, str) else _wrong(name, shape, seen.rois))
            )
            continue
        have = clip_frames(shape[1], frame_ratio(facts[i][2], config), config.rate)
        whole.append((i, shape[1], have))
        lengths.append(have)
    seen.clip = config.frames or _common(lengths)
    for i, frames, have in whole:
        name, where = found[i]
        short = have < seen.clip
        seen.short += short
        if short and config.short == "drop":
            continue
        seen.flat, seen.missing = seen.flat + facts[i][0], seen.missing + facts[i][1]
        seen.scans.append(Scan(name, where, frames, facts[i][2], short))
        seen.kept.append(i)
    seen.names = next((n for n, _ in names.most_common() if len(n) == seen.rois), None)
    _judge(seen, len(found), config, lengths)
    return seen


def _judge(seen: Seen, total: int, config: FmriConfig, lengths: list[int]) -> None:
    """Raise what the config refuses."""
    if len(seen.broken) > config.max_broken * total:
        raise DataError(
            f"{len(seen.broken)} of {total} scans cannot be used, more than max_broken={config.max_broken:.0%}; the first: "
            f"{seen.broken[0].reason}"
        )
    if seen.short and config.short == "refuse":
        raise DataError(
            f"{seen.short} of {total} scans are shorter than a clip of {seen.clip} frames at {config.target_tr:g} s: use "
            f"frames={min(lengths)} or less, short=drop to leave them out, or short=pad"
        )
    if not seen.scans:
        raise DataError(
            f"none of {total} scans can be used" + (f": {seen.broken[0].reason}" if seen.broken else "")
        )


def _common(lengths: list[int]) -> int:
    """Frames of a clip that every scan has: at most LONGEST, in steps of 16 where there are so many."""
    most = min([*lengths, LONGEST])
    return max(1, most // 16 * 16 if most >= 16 else most)


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


def frame_ratio(tr: float | None, config: FmriConfig) -> float:
    """Frames of a scan for each of a clip."""
    return 1.0 if tr is None else config.target_tr / tr


def load_scan(where: Series | Path | np.ndarray, config: FmriConfig, atlas: Path | None) -> Read:
    """The values of one scan; raises DataError when it cannot be read."""
    if isinstance(where, np.ndarray):
        return Read(where)
    if isinstance(where, Series):
        return read_series(where, roi_first=config.roi_first)
    assert atlas is not None
    image = read_image(where, atlas)
    return Read(image.values, tuple(map(str, image.labels)), image.tr)


def _stem(path: Path) -> str:
    return next(path.name[: -len(e)] for e in reversed(IMAGE_ENDINGS) if path.name.lower().endswith(e))

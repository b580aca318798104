"""Files that hold time series of brain regions: .npy, .npz, .csv, .tsv, .1D and .txt, one scan or many in each."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anyjepa.errors import DataError

ENDINGS = (".npy", ".npz", ".csv", ".tsv", ".1d", ".txt")
"""File name endings taken as series of regions."""
MISSING = frozenset({"", "n/a", "na", "nan", "null", "none", "-9999", "-9999.0"})
"""Cells that stand for no value."""

_BROKEN = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, UnicodeDecodeError)


@dataclass(frozen=True)
class Series:
    """Where one scan lies.

    Attributes:
        name: what a person finds it by: the file's name without its ending, or the key or row in it.
        path: the file.
        key: array of an .npz file.
        row: row of an array of many scans.
    """

    name: str
    path: Path
    key: str | None = None
    row: int | None = None


@dataclass(frozen=True)
class Read:
    """One scan as stored.

    Attributes:
        values: (R, T); NaN where a value is missing.
        names: names of the regions, where the file has them.
        tr: seconds from frame to frame, where a file beside it says so.
    """

    values: Float[np.ndarray, "R T"]
    names: tuple[str, ...] | None = None
    tr: float | None = None


def find_series(path: Path) -> list[Series]:
    """All scans of a file, or of a folder at any nesting, in the order of their names.

    Raises:
        DataError: a file cannot be opened, or holds arrays of objects.
    """
    if path.is_file():
        return _within(path)
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
    return [series for file in files for series in _within(file)]


def read_series(series: Series, *, roi_first: bool = False) -> Read:
    """The values of one scan.

    Args:
        series: from :func:`find_series`.
        roi_first: rows are regions; else rows are frames, as in the field's files.

    Raises:
        DataError: it cannot be read, or is not a table of numbers.
    """
    names = None
    try:
        if series.path.suffix.lower() in (".npy", ".npz"):
            # A row of many is read without the others.
            values = np.load(series.path, mmap_mode=None if series.key else "r", allow_pickle=False)
            values = values if series.key is None else values[series.key]
            values = values if series.row is None else values[series.row]
        else:
            values, names = _table(series.path)
    except _BROKEN as error:
        raise DataError(f"cannot read scan {series.name} from {series.path}: {error}") from error
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise DataError(
            f"scan {series.name} of {series.path} is not a table of numbers: {values.dtype} of shape {values.shape}"
        )
    # Always (R, T) from here on.
    turned = np.ascontiguousarray(values if roi_first else values.T, dtype=np.float32)
    if names is not None and len(names) != len(turned):
        names = None
    return Read(turned, names, _repetition_time(series.path))


def _within(path: Path) -> list[Series]:
    stem, ending = path.name[: -len(path.suffix)], path.suffix.lower()
    try:
        if ending == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return [Series(stem, path)] if array.ndim == 2 else _rows(path, None, stem, array.shape)
        if ending == ".npz":
            with zipfile.ZipFile(path) as archive:
                found: list[Series] = []
                for key in (name.removesuffix(".npy") for name in archive.namelist()):
                    shape = _shape(archive, key)
                    if len(shape) == 2:
                        found.append(Series(key, path, key))
                    elif len(shape) == 3:
                        found += _rows(path, key, stem, shape)
                return found
    except _BROKEN as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return [Series(stem, path)] if ending in ENDINGS else []


def _rows(path: Path, key: str | None, stem: str, shape: tuple[int, ...]) -> list[Series]:
    if len(shape) != 3:
        raise DataError(f"{path} has shape {shape}; expected one scan (T, R) or many (N, T, R)")
    return [Series(f"{stem}[{row}]", path, key, row) for row in range(shape[0])]


def _shape(archive: zipfile.ZipFile, key: str) -> tuple[int, ...]:
    """Shape of an array from its header alone."""
    with archive.open(f"{key}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"array '{key}' holds objects, which are not read")
    return shape


def _table(path: Path) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Cells of a text file and the names in its first line, if it has any."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError("the file is empty")
    # None splits at any run of blanks.
    mark = next((m for m in ("\t", ",", ";") if m in lines[0]), None)
    first = [cell.strip().strip('"') for cell in lines[0].split(mark)]
    header = any(_number(cell) is None for cell in first)
    body = lines[1:] if header else lines
    rows = []
    for i, line in enumerate(body, start=1 + header):
        cells = [_number(cell.strip()) for cell in line.rstrip("\n").split(mark)]
        if len(cells) != len(first) or None in cells:
            raise ValueError(f"data line {i} has {len(cells)} cells or a word, expected {len(first)} numbers")
        rows.append(cells)
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(first))
    # The index that a data frame writes in front.
    if header and first[0].lower() in ("", "unnamed: 0", "frame", "index"):
        values, first = values[:, 1:], first[1:]
    return values, tuple(first) if header else None


def _number(cell: str) -> float | None:
    if cell.lower() in MISSING - {"-9999", "-9999.0"}:
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        return None


def _repetition_time(path: Path) -> float | None:
    """``RepetitionTime`` of the BIDS file beside a series."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        found = json.loads(beside.read_text()).get("RepetitionTime")
    except (ValueError, OSError, AttributeError):
        return None
    return float(found) if isinstance(found, int | float) and found > 0 else None

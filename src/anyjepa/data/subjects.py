"""The table that says who was scanned: one line per subject with site, age, sex, diagnosis, under any usual names."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from anyjepa.data.roi_files import MISSING
from anyjepa.errors import DataError, nearest

NAMES: dict[str, tuple[str, ...]] = {
    "subject": ("participantid", "subid", "subjectid", "subject", "sub", "eid", "rid", "id"),
    "file": ("fileid", "filename", "file", "scan"),
    "site": ("siteid", "site", "center", "centre", "scanner"),
    "age": ("ageatscan", "age"),
    "sex": ("sex", "gender"),
    "diagnosis": ("dxgroup", "diagnosis", "dx", "group", "label"),
    "tr": ("repetitiontime", "tr"),
}
"""Columns that are looked for, best first; letters and digits alone count, in any case."""

FEW = 10
"""Whole numbers of at most so many kinds are classes: 1 and 2 of the sexes, but not ages in years."""


@dataclass(frozen=True)
class SubjectTable:
    """Lines of a table, matched to scans.

    Attributes:
        path: the file.
        columns: cells by the name of the column; None where a value is missing.
        lines: for each scan its line, -1 where it has none.
    """

    path: Path
    columns: dict[str, tuple[str | None, ...]]
    lines: Int[np.ndarray, "N"]

    def name_of(self, what: str) -> str | None:
        """The column that holds ``what``: its own name, or a key of NAMES."""
        if what in self.columns:
            return what
        plain = {_plain(name): name for name in reversed(self.columns)}
        wanted = (_plain(what), *NAMES.get(what, ()))
        return next((plain[w] for w in wanted if w in plain), None)

    def values(self, what: str) -> list[str | None]:
        """Cells of each scan; None where a value or the whole line is missing.

        Raises:
            DataError: there is no such column.
        """
        name = self.name_of(what)
        if name is None:
            raise DataError(f"{self.path} has no column '{what}': {nearest(what, self.columns)}")
        return [None if line < 0 else self.columns[name][line] for line in self.lines.tolist()]

    def numbers(self, what: str) -> Float[np.ndarray, "N"]:
        """A column as numbers, NaN where missing; raises DataError when a cell is a word."""
        try:
            return np.array([np.nan if v is None else float(v) for v in self.values(what)], dtype=np.float64)
        except ValueError as error:
            raise DataError(f"{self.path}, column '{what}': {error}") from error

    def classes(self, what: str) -> tuple[Int[np.ndarray, "N"], tuple[str, ...]]:
        """A column as classes, numbered in the sorted order of their names; -1 where missing."""
        values = self.values(what)
        names = sorted({v for v in values if v is not None}, key=_order)
        number = {name: i for i, name in enumerate(names)}
        return np.array([-1 if v is None else number[v] for v in values], dtype=np.int64), tuple(names)


def read_subjects(path: str | Path, scans: Sequence[str]) -> SubjectTable:
    """The table of a .csv or .tsv file with a header, matched to scans.

    A scan belongs to the line whose subject or file name is its name, its BIDS subject (``sub-01_task-rest...``), its beginning
    up to an underscore, or a number in it; ``sub-`` and leading zeros do not count.

    Args:
        path: the file.
        scans: names of the scans.

    Raises:
        DataError: the file cannot be read, names a subject twice, or fits none of the scans.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the table {path}: {error}") from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise DataError(f"the table {path} needs a header and at least one line")
    header, *body = rows
    for i, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise DataError(f"{path} line {i} has {len(row)} cells, its header {len(header)}")
    columns = {
        name.strip(): tuple(None if row[c].strip().lower() in MISSING else row[c].strip() for row in body)
        for c, name in enumerate(header)
    }
    table = SubjectTable(path, columns, np.full(len(scans), -1))
    keys: dict[str, int] = {}
    for what in ("file", "subject"):
        column = table.name_of(what)
        for line, cell in enumerate(columns[column] if column else ()):
            # A file's name may be one for several scans of a subject; a subject has one line.
            if cell is not None and keys.setdefault(_key(cell), line) != line and what == "subject":
                raise DataError(f"{path} names subject '{cell}' twice: one line per subject is expected")
    if not keys:
        raise DataError(f"{path} has no column of subjects: expected one of {', '.join(NAMES['subject'])}")
    lines = np.array(
        [next((keys[k] for k in _keys(scan) if k in keys), -1) for scan in scans], dtype=np.int64
    )
    if len(lines) and (lines < 0).all():
        raise DataError(
            f"no scan is in {path}: scans are named like '{scans[0]}', the table like '{next(iter(keys))}'"
        )
    return SubjectTable(path, columns, lines)


def is_number(cells: Sequence[str | None]) -> bool:
    """Whether a column holds values rather than classes: fractions, or whole numbers of more than FEW kinds, or that seldom come
    twice."""
    known = [cell for cell in cells if cell is not None]
    try:
        values = {float(cell) for cell in known}
    except ValueError:
        return False
    many = len(values) > min(FEW, len(known) // 2)
    return many or any(value != round(value) for value in values)


def subject_of(scan: str) -> str:
    """The subject a scan belongs to by its name alone: its BIDS subject, else the whole name."""
    found = re.match(r"(sub-[A-Za-z0-9]+)", scan)
    return found[1] if found else scan


def _keys(scan: str) -> list[str]:
    """What a scan may be called in a table, best first."""
    parts = scan.split("_")
    prefixes = ["_".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return [_key(k) for k in (scan, subject_of(scan), *prefixes, *re.findall(r"\d+", scan))]


def _key(cell: str) -> str:
    plain = cell.strip().lower().removeprefix("sub-").removesuffix(".0")
    return plain.lstrip("0") or "0"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _order(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name

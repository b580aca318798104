"""Where recordings lie: WFDB records, PTB-XL, arrays, tables. Each store lists its recordings and reads one of them as stored."""

from __future__ import annotations

import ast
import csv
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anyjepa.data.ecg_leads import lead_name
from anyjepa.data.wfdb_header import Header, read_header
from anyjepa.errors import AnyjepaError, ConfigError, DataError, MissingExtraError, nearest

PERSON = re.compile(r"(patient|subject|sub|p)[-_]?\d+", re.IGNORECASE)
"""Folders that stand for one person: patient001 (PTB), p10000032 (MIMIC-IV-ECG), sub-01."""
_TO_MV = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "": 1.0}
PTBXL_TASKS = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")
"""The label sets of the PTB-XL benchmark (Strodthoff et al. 2021)."""


@dataclass(frozen=True)
class Raw:
    """A recording as stored, in mV."""

    signal: Float[np.ndarray, "C T"]
    names: tuple[str, ...]
    rate: float


@dataclass(frozen=True)
class Entry:
    """What is known of a recording without reading its samples.

    ``identity`` is the name by which a person finds it, ``group`` the patient, ``fold`` the fold of an official split.
    """

    identity: str
    labels: tuple[str, ...] = ()
    group: str | None = None
    seconds: float | None = None
    fold: int | None = None


class Store(ABC):
    """A numbered list of recordings. ``skipped`` has one text for each that cannot be used."""

    entries: list[Entry]
    skipped: list[str]

    @abstractmethod
    def raw(self, i: int) -> Raw:
        """Recording ``i`` as stored. DataError names a broken one."""


class WfdbStore(Store):
    """WFDB records (``.hea`` beside ``.dat`` or ``.mat``), the format of PhysioNet.

    Args:
        records: paths of the headers, relative to ``root``.
        root: folder of the data set.
        label_key: comment of the header that holds the labels.
        known: what is known of each record from elsewhere; None: read from the headers.
    """

    def __init__(
        self,
        root: Path,
        records: Sequence[str],
        label_key: str = "Dx",
        known: Sequence[Entry] | None = None,
    ) -> None:
        self.root = root
        self.entries, self.skipped, self._records = [], [], []
        for number, record in enumerate(records):
            try:
                header = read_header(root / record)
                wrong = header.missing_bytes((root / record).parent)
            except DataError as error:
                self.skipped.append(str(error))
                continue
            if wrong:
                self.skipped.append(f"{root / record}: {wrong}")
                continue
            found = known[number] if known is not None else _entry(record, header, label_key)
            self.entries.append(replace(found, seconds=_seconds(header)))
            self._records.append(record)

    def raw(self, i: int) -> Raw:
        path = self.root / self._records[i]
        header = read_header(path)
        try:
            record = _rdrecord(path, header)
        except AnyjepaError:
            raise
        # What wfdb raises on torn and foreign files is of many kinds: none is part of its interface.
        except Exception as error:
            raise DataError(f"cannot read {path}: {type(error).__name__}: {error}") from error
        signal = getattr(record, "p_signal", None)
        if signal is None or signal.size == 0:
            raise DataError(f"{path}: the record has no samples")
        names = tuple(str(name or "") for name in record.sig_name)
        signal = np.ascontiguousarray(signal.T, dtype=np.float64)
        for row, (name, unit) in enumerate(zip(names, record.units, strict=True)):
            if lead_name(name) is None:
                continue
            if str(unit).lower() not in _TO_MV:
                raise DataError(f"{path}: lead {name} is in '{unit}'; expected mV, uV or V")
            signal[row] *= _TO_MV[str(unit).lower()]
        return Raw(signal, names, float(record.fs))


def _rdrecord(path: Path, header: Header):  # type: ignore[no-untyped-def]
    try:
        import wfdb
    except ImportError:
        raise MissingExtraError("wfdb", "ecg") from None
    if not header.patched:
        return wfdb.rdrecord(str(path.with_suffix("").absolute()))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "record.hea").write_text(header.text, encoding="utf-8")
        # A record in several parts names their headers, which name their files: all that lies beside it is linked.
        beside = [p.name for p in path.parent.iterdir()] if header.segments else dict.fromkeys(header.files)
        for file in beside:
            if file != "record.hea":
                _link(path.parent.absolute() / file, place / file)
        return wfdb.rdrecord(str(place / "record"))


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:  # Windows without the right to link
        shutil.copyfile(source, target)


def _entry(record: str, header: Header, label_key: str) -> Entry:
    persons = [part for part in Path(record).parts[:-1] if PERSON.fullmatch(part)]
    named = header.comment("patient") or header.comment("subject")
    group = named[0] if named else (persons[-1] if persons else None)
    return Entry(record.removesuffix(".hea"), tuple(header.comment(label_key)), group)


def _seconds(header: Header) -> float | None:
    return None if header.length is None else header.length / header.rate


def find_wfdb(root: Path) -> list[str]:
    """Headers of records below a folder, in sorted order; segments of records in several parts are left to their records."""
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*.hea"))
    inner: set[str] = set()
    for record in found:
        try:
            header = read_header(root / record)
        except DataError:
            continue
        if header.segments:
            folder = Path(record).parent
            lines = [line.split() for line in header.text.splitlines()[1:]]
            inner |= {str(folder / f"{words[0]}.hea") for words in lines if words}
    return [record for record in found if record not in inner]


def open_ptbxl(root: Path, rate: float = 500.0, task: str = "all") -> WfdbStore:
    """PTB-XL as PhysioNet gives it: ``ptbxl_database.csv``, ``scp_statements.csv`` and the records.

    Args:
        root: its folder.
        rate: below 500 the records of 100 Hz are read where 100 is enough, else those of 500 Hz.
        task: one of :data:`PTBXL_TASKS`. A statement counts when it is among ``scp_codes``, whatever its likelihood.

    Raises:
        DataError: a table lacks a column or a value.
        ConfigError: an unknown task.
    """
    if task not in PTBXL_TASKS:
        raise ConfigError(f"unknown label set '{task}': {nearest(task, PTBXL_TASKS)}")
    column = "filename_lr" if rate <= 100 else "filename_hr"
    table = root / "ptbxl_database.csv"
    rows = _read_csv(table, ("ecg_id", "patient_id", "scp_codes", "strat_fold", column))
    names = _statements(root, task)
    records, known = [], []
    for number, row in enumerate(rows, start=2):
        try:
            codes = ast.literal_eval(row["scp_codes"])
            labels = tuple(sorted({names[code] for code in codes if code in names}))
            # patient numbers are written as floats
            person, fold = str(int(float(row["patient_id"]))), int(float(row["strat_fold"]))
        except (ValueError, SyntaxError, TypeError) as error:
            raise DataError(f"{table} line {number}: {error}") from error
        records.append(f"{row[column]}.hea")
        known.append(Entry(row[column], labels, person, None, fold))
    return WfdbStore(root, records, known=known)


def _statements(root: Path, task: str) -> dict[str, str]:
    """Label of each SCP code in a task."""
    rows = _read_csv(
        root / "scp_statements.csv",
        ("diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"),
    )
    code = next(iter(rows[0])) if rows else ""
    kept = {}
    for row in rows:
        flags = {kind: row[kind] not in ("", "0", "0.0") for kind in ("diagnostic", "form", "rhythm")}
        if task == "all" or flags.get(task):
            kept[row[code]] = row[code]
        elif task == "superdiagnostic" and flags["diagnostic"] and row["diagnostic_class"]:
            kept[row[code]] = row["diagnostic_class"]
        elif task == "subdiagnostic" and flags["diagnostic"] and row["diagnostic_subclass"]:
            kept[row[code]] = row["diagnostic_subclass"]
    return kept


def _read_csv(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in needed if name not in (reader.fieldnames or ())]
            if lacking:
                raise DataError(
                    f"{path} lacks the columns {', '.join(lacking)}; it has {', '.join(reader.fieldnames or ())}"
                )
            return [{key: value or "" for key, value in row.items() if key is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error


class LoadedStore(Store):
    """Recordings that a function reads: files of one recording each, rows of a table, rows of an array."""

    def __init__(self, entries: list[Entry], load: Callable[[int], Raw]) -> None:
        self.entries, self.skipped, self._load = entries, [], load

    def raw(self, i: int) -> Raw:
        return self._load(i)

"""Recordings in NumPy arrays, CSV files and parquet files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from anyjepa.data.ecg_leads import lead_name
from anyjepa.data.ecg_stores import Entry, LoadedStore, Raw
from anyjepa.errors import ConfigError, DataError

SIGNAL_KEYS = ("signals", "ecg", "x", "data")
"""Keys of an .npz file looked for first; else its first array of two or three axes."""
TIME_NAMES = ("time", "t", "seconds")
"""Columns of seconds, from which the sampling rate is taken."""
GROUP_NAMES = ("patient_id", "patient", "subject_id", "subject", "group")
"""Columns and keys that name the patient."""
LABEL_NAMES = ("labels", "label", "y")
"""Columns and keys that hold labels."""
_BROKEN = (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)


def open_array(path: Path, leads: Sequence[str], rate: float | None) -> LoadedStore:
    """A ``.npy`` or ``.npz`` array (N, C, T) or (N, T, C), or of one recording (C, T) or (T, C), in mV.

    An .npz may also hold ``leads`` (C,), ``rate`` (one number), ``labels`` (N,) or (N, K), and ``patient_id`` (N,).

    Args:
        path: the file.
        leads: names of its channels, unless it names them.
        rate: its sampling rate in Hz, unless it holds it.

    Raises:
        DataError: the file is torn, or its shape does not fit the leads.
        ConfigError: no rate is known.
    """
    extra: dict[str, np.ndarray] = {}
    try:
        stored = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            signals = stored
        else:
            with stored:
                keys = [k for k in SIGNAL_KEYS if k in stored] or [
                    k for k in stored if stored[k].ndim in (2, 3)
                ]
                if not keys:
                    raise DataError(
                        f"{path} has no array of recordings; its keys: {', '.join(stored) or 'none'}"
                    )
                signals = stored[keys[0]]
                extra = {k: stored[k] for k in stored if k != keys[0]}
    except _BROKEN as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if signals.dtype.kind not in "fiu" or signals.ndim not in (2, 3) or 0 in signals.shape:
        raise DataError(
            f"{path} holds {signals.dtype} of shape {signals.shape}; expected numbers (N, leads, samples)"
        )
    names = tuple(str(name) for name in extra["leads"].tolist()) if "leads" in extra else tuple(leads)
    rate = float(np.ravel(extra["rate"])[0]) if "rate" in extra else rate
    if signals.ndim == 2:
        signals = signals[None]
    if signals.shape[1] != len(names):
        if signals.shape[2] != len(names):
            raise DataError(
                f"{path} has shape {signals.shape}, no axis of it has the {len(names)} leads {', '.join(names)}: name the leads "
                "of the file with file_leads"
            )
        signals = signals.transpose(0, 2, 1)
    known = _known_rate(rate, path)
    count, seconds = len(signals), signals.shape[2] / known
    groups = next((extra[k] for k in GROUP_NAMES if k in extra), None)
    labels = next((extra[k] for k in LABEL_NAMES if k in extra), None)
    for what, values in (("labels", labels), ("patients", groups)):
        if values is not None and len(values) != count:
            raise DataError(f"{path} has {count} recordings but {len(values)} {what}")
    entries = [
        Entry(
            f"{path.name} row {i}",
            () if labels is None else _row_labels(labels[i]),
            None if groups is None else str(groups[i]),
            seconds,
        )
        for i in range(count)
    ]
    return LoadedStore(entries, partial(_row, signals, names, known))


def array_store(signals: np.ndarray, names: Sequence[str], rate: float) -> LoadedStore:
    """An array (N, C, T) in mV that is in memory.

    Raises:
        DataError: it has another shape, or holds no numbers.
    """
    if (
        signals.ndim != 3
        or signals.dtype.kind not in "fiu"
        or 0 in signals.shape
        or signals.shape[1] != len(names)
    ):
        raise DataError(
            f"expected numbers (N, {len(names)}, T): recordings with the leads {', '.join(names)}; got {signals.dtype} of shape "
            f"{signals.shape}"
        )
    entries = [Entry(f"row {i}", (), None, signals.shape[2] / rate) for i in range(len(signals))]
    return LoadedStore(entries, partial(_row, signals, tuple(names), rate))


def _row(signals: np.ndarray, names: tuple[str, ...], rate: float, i: int) -> Raw:
    return Raw(np.asarray(signals[i], dtype=np.float64), names, rate)


def _row_labels(value: Any) -> tuple[str, ...]:
    """One label, or the numbers of the columns that are set in a row of zeros and ones."""
    row = np.asarray(value)
    return (str(row.item()),) if row.ndim == 0 else tuple(str(i) for i in np.flatnonzero(row))


def _known_rate(rate: float | None, path: Path) -> float:
    if rate is None or not rate > 0:
        raise ConfigError(f"{path} does not say its sampling rate: give it in Hz with file_rate")
    return rate


def open_csv(files: Sequence[Path], rate: float | None) -> LoadedStore:
    """CSV or parquet files of one recording each: a column per lead in mV, optionally one of seconds.

    Args:
        files: the files.
        rate: sampling rate in Hz of files without a column of seconds.
    """
    entries = [Entry(file.name) for file in files]
    return LoadedStore(entries, partial(_columns, list(files), rate))


def _columns(files: list[Path], rate: float | None, i: int) -> Raw:
    path = files[i]
    table = _table(path)
    times = [name for name in table.column_names if name.strip().lower() in TIME_NAMES]
    names = [name for name in table.column_names if lead_name(name)]
    if not names:
        raise DataError(
            f"{path} has no column named after a lead (I, II, ..., V6); its columns: {', '.join(table.column_names)}"
        )
    if table.num_rows == 0:
        raise DataError(f"{path}: the recording has no samples")
    signal = np.stack([_numbers(table, name, path) for name in names])
    if times and table.num_rows > 1:
        step = np.diff(_numbers(table, times[0], path))
        middle = float(np.median(step)) if np.isfinite(step).all() else float("nan")
        if not middle > 0 or np.abs(step - middle).max() > 0.5 * middle:
            raise DataError(f"{path}: column '{times[0]}' does not grow by equal steps of seconds")
        rate = (len(step)) / float(step.sum())
    return Raw(signal, tuple(names), _known_rate(rate, path))


def open_parquet(path: Path, rate: float | None) -> LoadedStore:
    """One parquet file whose rows are recordings: a column of lists per lead, and optionally rate, labels and patient.

    A file whose lead columns hold plain numbers is one recording; see :func:`open_csv`.
    """
    table = _table(path)
    leads = [name for name in table.column_names if lead_name(name)]
    if not leads or not all(_is_list(table.schema.field(name).type) for name in leads):
        return open_csv([path], rate)
    rates = next((n for n in table.column_names if n.lower() in ("rate", "fs", "sampling_rate")), None)
    group = next((n for n in GROUP_NAMES if n in table.column_names), None)
    label = next((n for n in LABEL_NAMES if n in table.column_names), None)
    entries = []
    for i in range(table.num_rows):
        values = table[label][i].as_py() if label else None
        labels = (
            () if values is None else tuple(map(str, values)) if isinstance(values, list) else (str(values),)
        )
        person = table[group][i].as_py() if group else None
        entries.append(Entry(f"{path.name} row {i}", labels, None if person is None else str(person)))

    return LoadedStore(entries, partial(_list_row, table, leads, rates, rate, path))


def _list_row(
    table: pa.Table, leads: list[str], rates: str | None, rate: float | None, path: Path, i: int
) -> Raw:
    rows = [np.asarray(table[name][i].as_py() or (), dtype=np.float64) for name in leads]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1 or 0 in lengths:
        raise DataError(
            f"{path} row {i}: its leads have {sorted(lengths)} samples; expected one length above 0"
        )
    known = table[rates][i].as_py() if rates else rate
    return Raw(np.stack(rows), tuple(leads), _known_rate(known, path))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _table(path: Path) -> pa.Table:
    try:
        return pa.csv.read_csv(path) if path.suffix.lower() == ".csv" else pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _numbers(table: pa.Table, name: str, path: Path) -> np.ndarray:
    try:
        return table[name].cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path}: column '{name}' does not hold numbers: {error}") from error

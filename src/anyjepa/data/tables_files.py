"""Tables as blocks of rows, one after the other, so that memory does not grow with them: CSV, Parquet, NumPy, and frames."""

from __future__ import annotations

import bisect
import csv
import io
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from anyjepa.data.broken import Broken
from anyjepa.data.files import regular
from anyjepa.errors import DataError

BLOCK = 1 << 15
"""Rows of a block."""
BLOCK_BYTES = 1 << 22
"""Bytes of a block of a text file."""
TEXT, PARQUET, ARRAY = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".parquet", ".pq"), (".npy",)
ENDINGS = (*TEXT, *PARQUET, *ARRAY)
_BROKEN = (pa.ArrowException, OSError, MemoryError, OverflowError, ValueError, RuntimeError, KeyError)


class Table(ABC):
    """Rows with named columns.

    Attributes:
        name: what it is called in errors.
        names: of the columns, each once.
        broken: lines that could not be read in the latest pass.
    """

    name: str
    names: tuple[str, ...]
    broken: list[Broken]

    @abstractmethod
    def blocks(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        """The columns of these names, some rows at a time, in order; raises DataError when they cannot be read."""

    def identity(self, i: int) -> str:
        """Name of row ``i``."""
        return f"{self.name} row {i}"


class MemoryTable(Table):
    """A table in memory."""

    def __init__(self, columns: dict[str, pa.Array | pa.ChunkedArray], name: str = "X") -> None:
        self.name, self.names, self.broken, self._columns = name, tuple(columns), [], columns

    def blocks(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        rows = len(next(iter(self._columns.values()))) if self._columns else 0
        for start in range(0, rows, BLOCK):
            yield {name: _flat(self._columns[name].slice(start, BLOCK)) for name in names}


class RenamedTable(Table):
    """A table with other names for its columns, in their order."""

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self.table, self.name, self.names = table, table.name, tuple(names)
        self._theirs = dict(zip(names, table.names, strict=True))

    @property
    def broken(self) -> list[Broken]:  # type: ignore[override]
        """Those of the table."""
        return self.table.broken

    def blocks(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        for block in self.table.blocks([self._theirs[name] for name in names]):
            yield {name: block[self._theirs[name]] for name in names}

    def identity(self, i: int) -> str:
        return self.table.identity(i)


class FileTable(Table):
    """One or more files of one kind with the same columns; rows are counted on from file to file."""

    def __init__(self, files: Sequence[Path], header: bool = True, delimiter: str | None = None) -> None:
        self.files, self.name, self.broken = list(files), str(files[0]), []
        self._header, self._delimiter = header, delimiter
        self._starts: list[int] = [0]
        self.names = unique(self._names(self.files[0]), str(self.files[0]))

    def blocks(self, names: Sequence[str]) -> Iterator[dict[str, pa.Array]]:
        self.broken, counts = [], []
        for file in self.files:
            count = 0
            missing = [name for name in names if name not in self._names(file)]
            if missing:
                raise DataError(
                    f"{file} has no column {', '.join(missing)}: all files need those of {self.files[0]}"
                )
            try:
                for block in self._read(file, list(names)):
                    count += len(next(iter(block.values()))) if block else 0
                    yield block
            except DataError:
                raise
            except _BROKEN as error:
                raise DataError(f"cannot read {file}, row {count} or later: {_first_line(error)}") from error
            counts.append(count)
        self._starts = [0, *itertools.accumulate(counts)]

    def identity(self, i: int) -> str:
        file = min(bisect.bisect_right(self._starts, i), len(self.files)) - 1
        return f"{self.files[file].name} row {i - self._starts[file]}"

    @abstractmethod
    def _names(self, file: Path) -> Sequence[str]:
        """Columns of a file."""

    @abstractmethod
    def _read(self, file: Path, names: list[str]) -> Iterator[dict[str, pa.Array]]:
        """Stretches of these columns."""


class ParquetTable(FileTable):
    """Parquet files."""

    def _names(self, file: Path) -> Sequence[str]:
        try:
            return pq.ParquetFile(regular(file)).schema_arrow.names
        except DataError:
            raise
        except _BROKEN as error:
            raise DataError(f"{file} is not a whole parquet file: {_first_line(error)}") from error

    def _read(self, file: Path, names: list[str]) -> Iterator[dict[str, pa.Array]]:
        # Without buffering ahead, which would hold all of a file.
        with pq.ParquetFile(file, pre_buffer=False) as opened:
            for batch in opened.iter_batches(BLOCK, columns=names, use_threads=False):
                yield {name: batch.column(name) for name in names}


class CsvTable(FileTable):
    """Text files of cells; all cells are texts here."""

    def _names(self, file: Path) -> Sequence[str]:
        first = _first_record(file)
        cells = next(csv.reader(io.StringIO(first), delimiter=self._delimiter_of(file, first)))
        return [cell.strip() for cell in cells] if self._header else [f"x{i}" for i in range(len(cells))]

    def _read(self, file: Path, names: list[str]) -> Iterator[dict[str, pa.Array]]:
        every = self.names if not self._header else tuple(self._names(file))

        def leave_out(row: pacsv.InvalidRow) -> str:
            reason = f"{row.actual_columns} cells instead of {row.expected_columns}"
            number = "" if row.number is None else f" line {row.number}"
            self.broken.append(Broken(f"{file.name}{number}", reason))
            return "skip"

        with pa.input_stream(str(file), compression="detect") as stream:
            reader = pacsv.open_csv(
                stream,
                read_options=pacsv.ReadOptions(
                    use_threads=False,
                    block_size=BLOCK_BYTES,
                    column_names=list(every),
                    skip_rows_after_names=int(self._header),
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=self._delimiter_of(file, _first_record(file)),
                    newlines_in_values=True,
                    invalid_row_handler=leave_out,
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(every, pa.string()),
                    include_columns=names,
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                yield {name: batch.column(name) for name in names}

    def _delimiter_of(self, file: Path, first: str) -> str:
        if self._delimiter is not None:
            return self._delimiter
        if ".tsv" in file.name.lower():
            return "\t"
        return max(",;\t|", key=first.count)


class ArrayTable(FileTable):
    """A NumPy array (rows, columns) of numbers, mapped into memory."""

    def _names(self, file: Path) -> Sequence[str]:
        return [f"x{i}" for i in range(self._map(file).shape[1])]

    def _read(self, file: Path, names: list[str]) -> Iterator[dict[str, pa.Array]]:
        array = self._map(file)
        for start in range(0, len(array), BLOCK):
            block = np.asarray(array[start : start + BLOCK])
            yield {name: pa.array(np.ascontiguousarray(block[:, int(name[1:])])) for name in names}

    def _map(self, file: Path) -> np.ndarray:
        try:
            array = np.load(regular(file), mmap_mode="r", allow_pickle=False)
        except DataError:
            raise
        except Exception as error:  # NumPy parses the header as Python and passes on what that raises
            raise DataError(f"cannot read {file}: {_first_line(error)}") from error
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "biuf":
            shape = getattr(array, "shape", None)
            raise DataError(
                f"{file} holds {getattr(array, 'dtype', 'no array')} of shape {shape}; expected numbers (rows, columns)"
            )
        return array


def open_table(path: str | Path, header: bool = True, delimiter: str | None = None) -> FileTable:
    """The table of a file, or of all files of one kind in a folder.

    Raises:
        DataError: there is none, files are of several kinds, or the header names a column twice.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(
            f"{place} does not exist; expected a table: {', '.join(ENDINGS)}, or a folder of them"
        )
    files = [place]
    if place.is_dir():
        files = sorted(f for f in place.iterdir() if f.is_file() and f.name.lower().endswith(ENDINGS))
        if not files:
            raise DataError(f"{place} holds no table: expected {', '.join(ENDINGS)}")
    found = {_kind(file) for file in files}
    if len(found) > 1:
        raise DataError(f"{place} holds tables of several kinds: name one file, or a folder of one kind")
    kind = found.pop()
    if kind is None:
        raise DataError(f"{place} is no table by its name: expected {', '.join(ENDINGS)}")
    return kind(files, header, delimiter)


def _kind(file: Path) -> type[FileTable] | None:
    name = file.name.lower()
    for endings, kind in ((TEXT, CsvTable), (PARQUET, ParquetTable), (ARRAY, ArrayTable)):
        if name.endswith(endings):
            return kind
    return None


def unique(names: Sequence[Any], where: str) -> tuple[str, ...]:
    """The names as texts; raises DataError when one occurs twice."""
    texts = tuple(map(str, names))
    twice = [name for name, count in Counter(texts).items() if count > 1]
    if twice:
        raise DataError(f"{where} has several columns named {', '.join(map(repr, twice))}: rename them")
    if not texts:
        raise DataError(f"{where} has no columns")
    return texts


def _first_record(file: Path) -> str:
    """The first line that is not empty, with the lines it goes on in when a quoted cell holds a line break."""
    try:
        with pa.input_stream(str(regular(file)), compression="detect") as stream:
            head = stream.read(1 << 20)
        text = head.decode("utf-8-sig", errors="ignore" if len(head) == 1 << 20 else "strict")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text: {error}") from error
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"cannot read {file}: {_first_line(error)}") from error
    lines = text.splitlines(keepends=True)
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines or "\0" in lines[0]:
        raise DataError(f"{file} is empty, or no text")
    record = ""
    for line in lines:
        record += line
        if record.count('"') % 2 == 0:
            break
    return record


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _flat(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array

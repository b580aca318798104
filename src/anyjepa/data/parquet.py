"""Parquet files with a column of encoded images, or of paths to images."""

from __future__ import annotations

import bisect
import itertools
import logging
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from anyjepa.data import tables
from anyjepa.data.base import EncodedSource, encode_labels
from anyjepa.data.files import memory, regular
from anyjepa.errors import DataError

log = logging.getLogger(__name__)

IN_MEMORY = 0.4
"""Share of the machine's memory up to which the image column is held in memory."""
CACHED = 8
"""Row groups a process keeps when the column is larger than that."""


class ParquetSource(EncodedSource):
    """Rows of one or more parquet files, in the order of the files.

    The encoded column lies in memory once (forked workers share it) and is decoded image by image. One that is larger
    than IN_MEMORY allows is read row group by row group when asked for, which makes each image cost a row group.

    Args:
        files: the parquet files; all must have the columns.
        image_column: column of bytes, of {bytes, path} structs or of paths (relative to the file's folder);
            None: found by type and name.
        label_column: column of whole numbers or texts; None: found by name.
        labels: read the labels.
        in_memory: bytes of the image column that may be held in memory; None: IN_MEMORY of the machine's.
    """

    def __init__(
        self,
        files: list[Path],
        image_column: str | None = None,
        label_column: str | None = None,
        labels: bool = False,
        in_memory: int | None = None,
    ) -> None:
        self.files = files
        self._names = _distinct_names(files)
        opened = [_open(file) for file in files]
        schema = opened[0].schema_arrow
        self.image_column = tables.image_column(schema, image_column, files[0])
        groups = [
            _groups(file, file_opened, self.image_column)
            for file, file_opened in zip(files, opened, strict=True)
        ]
        # One entry per row group: its file, its number there, and the row it starts at.
        self._groups = [(f, g) for f, sizes in enumerate(groups) for g in range(len(sizes))]
        sizes = [size for file in groups for size in file]
        self._starts = [0, *itertools.accumulate(rows for rows, _ in sizes)]
        self._firsts = [0, *itertools.accumulate(sum(rows for rows, _ in file) for file in groups)]
        size = sum(size for _, size in sizes)
        self._whole = size <= (memory() * IN_MEMORY if in_memory is None else in_memory)
        if not self._whole:
            log.warning(
                "the images of %s take %.1f GiB, too much for memory: each image costs reading a row group of %.1f MiB;"
                " image files or tar archives are faster",
                files[0],
                size / 2**30,
                size / len(sizes) / 2**20,
            )
        self._column: pa.ChunkedArray | None = None
        self._cache: OrderedDict[int, pa.ChunkedArray | str] = OrderedDict()
        if labels:
            name = tables.label_column(schema.names, label_column, files[0])
            values = _read(files, name)
            if values.null_count:
                raise DataError(f"{files[0]}: column '{name}' lacks {values.null_count} labels")
            self.labels, self.class_names = encode_labels(values.to_pylist(), f"{files[0]}, column '{name}'")
            self.class_names = self.class_names or tables.declared_names(schema, name)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker reads the files itself, which costs less than sending the column through a pipe.
        return self.__dict__ | {"_column": None, "_cache": OrderedDict()}

    def __len__(self) -> int:
        return self._starts[-1]

    def encoded(self, i: int) -> Any:
        try:
            return tables.encoded_cell(self._cell(i), self.files[self._file(i)].parent)
        except (DataError, IndexError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read image {self.identity(i)}: {error}") from error

    def identity(self, i: int) -> str:
        file = self._file(i)
        return f"{self._names[file]} row {i - self._firsts[file]}"

    def _file(self, i: int) -> int:
        return bisect.bisect_right(self._firsts, i) - 1

    def _cell(self, i: int) -> pa.Scalar:
        if self._whole and self._column is None:
            try:
                self._column = _read(self.files, self.image_column)
            except DataError as error:
                # Some row groups are damaged; the images of the others are not lost.
                log.warning("%s; going on row group by row group", error)
                self._whole = False
        if self._column is not None:
            return self._column[i]
        group = bisect.bisect_right(self._starts, i) - 1
        if group not in self._cache:
            self._cache[group] = self._group(group)
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(group)
        found = self._cache[group]
        if isinstance(found, str):
            raise DataError(found)
        return found[i - self._starts[group]]

    def _group(self, group: int) -> pa.ChunkedArray | str:
        """The cells of a row group, or why they cannot be read: a damaged one is not read for each image again."""
        file, number = self._groups[group]
        try:
            return _read([self.files[file]], self.image_column, number)
        except DataError as error:
            return str(error)


# Arrow raises these on torn or malicious files; RuntimeError and UnicodeDecodeError come from its bindings.
_BROKEN = (pa.ArrowException, OSError, MemoryError, OverflowError, ValueError, RuntimeError, KeyError)


def _distinct_names(files: list[Path]) -> list[str]:
    """Names of the files; with their folders where two have the same name."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    above = Path(os.path.commonpath([file.parent for file in files]))
    return [file.relative_to(above).as_posix() for file in files]


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(regular(file))
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{file} is not a whole parquet file: {error}") from error


def _groups(path: Path, file: pq.ParquetFile, column: str) -> list[tuple[int, int]]:
    """Rows, and bytes of the column when read, of each row group.

    Raises:
        DataError: more rows than the file has bytes, which is a lie or nothing but empty rows.
    """
    found = []
    try:
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            parts = [group.column(j) for j in range(group.num_columns)]
            mine = [part for part in parts if f"{part.path_in_schema}.".startswith(f"{column}.")]
            found.append((group.num_rows, sum(part.total_uncompressed_size for part in mine)))
    except _BROKEN as error:
        raise DataError(f"{path} is not a whole parquet file: {error}") from error
    rows, size = sum(rows for rows, _ in found), path.stat().st_size
    if rows > size or min((n for pair in found for n in pair), default=0) < 0:
        raise DataError(f"{path} claims {rows} rows in {size} bytes")
    return found


def _read(files: list[Path], column: str, group: int | None = None) -> pa.ChunkedArray:
    chunks: list[pa.Array] = []
    for path in files:
        try:
            file = _open(path)
            groups = range(file.metadata.num_row_groups) if group is None else [group]
            chunks += file.read_row_groups(list(groups), columns=[column]).column(column).chunks
        except DataError:
            raise
        except _BROKEN as error:
            raise DataError(f"{path}: cannot read column '{column}': {error}") from error
    kinds = sorted({str(chunk.type) for chunk in chunks})
    if len(kinds) > 1:
        raise DataError(f"column '{column}' has different types in different files: {', '.join(kinds)}")
    return pa.chunked_array(chunks, None if chunks else pa.binary())

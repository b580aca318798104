"""CSV and TSV files with a column of paths to images."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv

from anyjepa.data import tables
from anyjepa.data.base import EncodedSource, encode_labels
from anyjepa.data.files import local_path, regular
from anyjepa.errors import DataError

_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}


class CsvSource(EncodedSource):
    """Rows of a table of paths, whose first line names the columns. Relative paths start at the table's folder.

    Args:
        file: the table, comma, semicolon or tab separated, UTF-8.
        image_column: column of the paths; None: found by name, or the only column.
        label_column: column of whole numbers or texts; None: found by name.
        labels: read the labels.
    """

    def __init__(
        self,
        file: Path,
        image_column: str | None = None,
        label_column: str | None = None,
        labels: bool = False,
    ) -> None:
        self.file = file
        delimiter, names = _header(regular(file))
        schema = pa.schema([(name, pa.large_string()) for name in dict.fromkeys(names)])
        only = names[0] if len(names) == 1 else None
        paths = tables.image_column(schema, image_column or only, file)
        classes = tables.label_column(names, label_column, file) if labels else None
        table = _read(file, delimiter, paths, classes)
        # An Arrow array and not a list: reading a list from forked workers copies it page by page.
        self._paths = table.column(paths).combine_chunks()
        if classes is not None:
            values = table.column(classes)
            if values.null_count:
                raise DataError(f"{file}: column '{classes}' lacks {values.null_count} labels")
            self.labels, self.class_names = encode_labels(values.to_pylist(), f"{file}, column '{classes}'")

    def __len__(self) -> int:
        return len(self._paths)

    def encoded(self, i: int) -> Path:
        text = str(self._paths[i].as_py())
        try:
            if not text:
                raise DataError("the row is empty")
            return local_path(text, self.file.parent)
        except DataError as error:
            raise DataError(f"cannot read image {self.identity(i)}: {error}") from error

    def identity(self, i: int) -> str:
        return f"{self.file.name} row {i} ({self._paths[i].as_py()})"


def _header(file: Path) -> tuple[str, list[str]]:
    """The separator and the names of the columns: the separator that gives most names."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            line = lines.readline(1 << 20)
        found = [
            (d, next(csv.reader([line], delimiter=d), [])) for d in _DELIMITERS.get(file.suffix.lower(), ",")
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a table of UTF-8 text: {error}") from error
    delimiter, names = max(found, key=lambda pair: len(pair[1]))
    if not any(name.strip() for name in names):
        raise DataError(f"{file} is empty; its first line must name the columns, e.g. path,label")
    return delimiter, names


def _read(file: Path, delimiter: str, paths: str, classes: str | None) -> pa.Table:
    columns = [paths] if classes in (None, paths) else [paths, classes]
    try:
        return pv.read_csv(
            file,
            read_options=pv.ReadOptions(use_threads=False),
            parse_options=pv.ParseOptions(delimiter=delimiter),
            convert_options=pv.ConvertOptions(
                include_columns=columns, column_types={paths: pa.large_string()}, strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, OSError, MemoryError, ValueError, KeyError) as error:
        raise DataError(f"{file} is not a whole table: {error}") from error

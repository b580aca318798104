"""Parquet files with a column of encoded images, or of paths to images."""

from __future__ import annotations

import bisect
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from anyjepa.data.base import Source, encode_labels
from anyjepa.data.decode import decode
from anyjepa.errors import DataError, nearest

IMAGE_NAMES = ("image", "img", "bytes", "path", "images", "jpg", "png", "file", "file_name")
"""Names looked for when no image column is given, best first."""
LABEL_NAMES = ("label", "labels", "target", "class", "y")
"""Names looked for when no label column is given, best first."""


class ParquetSource(Source):
    """Rows of one or more parquet files, in the order of the files.

    The encoded column lies in memory once (forked workers share it) and is decoded image by image. A data set
    larger than memory belongs in a folder of image files.

    Args:
        files: the parquet files; all must have the columns.
        channels: 1 or 3.
        image_column: column of bytes, of {bytes, path} structs or of paths (relative to the file's folder);
            None: found by type and name.
        label_column: column of whole numbers or texts; None: found by name.
        labels: read the labels.
    """

    def __init__(
        self,
        files: list[Path],
        channels: int,
        image_column: str | None = None,
        label_column: str | None = None,
        labels: bool = False,
    ) -> None:
        self.files = files
        self._names = _distinct_names(files)
        self.channels = channels
        schema = _open(files[0]).schema_arrow
        self.image_column = _image_column(schema, image_column, files[0])
        self._column: pa.ChunkedArray | None = None
        rows = [_open(file).metadata.num_rows for file in files]
        self._starts = [0, *itertools.accumulate(rows)]
        if labels:
            name = _label_column(schema, label_column, files[0])
            values = _read(files, name)
            if values.null_count:
                raise DataError(f"{files[0]}: column '{name}' lacks {values.null_count} labels")
            self.labels, self.class_names = encode_labels(values.to_pylist(), f"{files[0]}, column '{name}'")
            self.class_names = self.class_names or _declared_names(schema, name)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker reads the files itself, which costs less than sending the column through a pipe.
        return self.__dict__ | {"_column": None}

    def __len__(self) -> int:
        return self._starts[-1]

    def encoded(self, i: int) -> Any:
        """Path or buffer of image ``i``, as :func:`~anyjepa.data.decode.decode` takes it."""
        if self._column is None:
            self._column = _read(self.files, self.image_column)
        cell = self._column[i]
        if cell.is_valid and pa.types.is_struct(cell.type):
            named = dict(cell.items())
            cell = named["bytes"] if named["bytes"].is_valid else named.get("path", named["bytes"])
        if not cell.is_valid:
            raise DataError(f"cannot read image {self.identity(i)}: the row is empty")
        if _is_text(cell.type):
            return self.files[self._file(i)].parent / cell.as_py()
        return cell.as_buffer()

    def read(self, i: int) -> Tensor:
        return decode(self.encoded(i), self.channels, self.identity(i))

    def identity(self, i: int) -> str:
        file = self._file(i)
        return f"{self._names[file]} row {i - self._starts[file]}"

    def _file(self, i: int) -> int:
        return bisect.bisect_right(self._starts, i) - 1


def _distinct_names(files: list[Path]) -> list[str]:
    """Names of the files; with their folders where two have the same name."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    above = Path(os.path.commonpath([file.parent for file in files]))
    return [file.relative_to(above).as_posix() for file in files]


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole parquet file: {error}") from error


def _read(files: list[Path], column: str) -> pa.ChunkedArray:
    chunks: list[pa.Array] = []
    for file in files:
        try:
            chunks += _open(file).read(columns=[column]).column(column).chunks
        except (KeyError, pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: cannot read column '{column}': {error}") from error
    kinds = sorted({str(chunk.type) for chunk in chunks})
    if len(kinds) > 1:
        raise DataError(f"column '{column}' has different types in different files: {', '.join(kinds)}")
    return pa.chunked_array(chunks, None if chunks else pa.binary())


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_image(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _image_column(schema: pa.Schema, given: str | None, file: Path) -> str:
    names = schema.names
    binary = [name for name in names if _is_image(schema.field(name).type)]
    text = [name for name in names if _is_text(schema.field(name).type)]
    if given is not None:
        if given not in binary + text:
            raise DataError(f"{file}: no column '{given}' of images: {nearest(given, binary + text)}")
        return given
    named = [name for name in IMAGE_NAMES if name in binary]
    if named or len(binary) == 1:
        return (named or binary)[0]
    paths = [name for name in IMAGE_NAMES if name in text]
    if paths and not binary:
        return paths[0]
    raise DataError(
        f"{file}: which column holds the images? Expected bytes, {{bytes, path}} or paths in a column named"
        f" one of {', '.join(IMAGE_NAMES)}; name yours with image_column. Columns: {', '.join(names)}"
    )


def _label_column(schema: pa.Schema, given: str | None, file: Path) -> str:
    if given is not None and given not in schema.names:
        raise DataError(f"{file}: no column '{given}': {nearest(given, schema.names)}")
    found = [given] if given is not None else [name for name in LABEL_NAMES if name in schema.names]
    if not found:
        raise DataError(
            f"{file}: labels were asked for, but no column is named {', '.join(LABEL_NAMES)}; name it with"
            f" label_column. Columns: {', '.join(schema.names)}"
        )
    return found[0]


def _declared_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Class names that the Hugging Face `datasets` library writes into the schema, if there are any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None

"""From parts to the file that was asked for, row group by row group.

OUT.parquet        id, index, label if asked for, vector; the plan in the schema's metadata under ``anyjepa``
OUT.npy            the vectors alone, to be memory mapped, and beside it OUT.ids.parquet: id, index, label
OUT.broken.csv     id and index of the images that could not be read, if there are any
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anyjepa.data import Source
from anyjepa.embedding.parts import Part, saved
from anyjepa.embedding.plan import Plan
from anyjepa.training.tensorfile import write_bytes

ENDINGS = (".parquet", ".npy")
KEY = b"anyjepa"
_GROUP_BYTES = 1 << 24
_GROUP_ROWS = 8192


def schema_of(plan: Plan, text_labels: bool) -> pa.Schema:
    """Columns of the embeddings, with the plan in the metadata.

    Args:
        plan: what they are.
        text_labels: labels are names of classes, not numbers.
    """
    number = {"float32": pa.float32(), "float16": pa.float16()}[plan.dtype]
    # Not null, so that NumPy and pandas get plain numbers.
    vector = pa.list_(pa.field("element", number, nullable=False), math.prod(plan.shape))
    columns = [pa.field("id", pa.string(), nullable=False), pa.field("index", pa.int64(), nullable=False)]
    if plan.labels:
        columns.append(pa.field("label", pa.string() if text_labels else pa.int64(), nullable=False))
    columns.append(pa.field("vector", vector, nullable=False))
    return pa.schema(columns, metadata={KEY: plan.to_json().encode()})


def ids_beside(out: Path) -> Path:
    """The file of ids that belongs to an ``.npy`` file of vectors."""
    return out.with_name(f"{out.stem}.ids.parquet")


def broken_beside(out: Path) -> Path:
    """The list of images that could not be read."""
    return out.with_name(f"{out.name}.broken.csv")


def join(out: Path, parts: Sequence[Part], schema: pa.Schema, source: Source) -> int:
    """Write the embeddings of all parts to ``out``, which appears last and whole.

    The rows of a group depend on the schema alone, so the file is the same however the parts were cut.

    Returns:
        How many images could not be read.

    Raises:
        DataError: it cannot be written; the parts stay.
    """
    broken = _write_broken(broken_beside(out), _missing(parts), source)
    vector = schema.field("vector").type
    rows = max(1, min(_GROUP_ROWS, _GROUP_BYTES // (vector.list_size * vector.value_type.byte_width)))
    if out.suffix == ".parquet":
        _write_parquet(out, _tables(_batches(parts), rows, schema), schema)
        return broken
    short = schema.remove(schema.get_field_index("vector"))
    _write_parquet(
        ids_beside(out),
        _tables((batch.select(short.names) for batch in _batches(parts)), _GROUP_ROWS, short),
        short,
    )
    plan = json.loads(schema.metadata[KEY])
    with saved(out) as partial, partial.open("wb") as file:
        dtype = np.dtype(plan["dtype"]).newbyteorder("<")
        shape = (sum(part.rows for part in parts), *plan["shape"])
        np.lib.format.write_array_header_1_0(
            file,
            {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": shape,
            },
        )
        for batch in _batches(parts):
            file.write(np.ascontiguousarray(numbers(batch.column("vector")), dtype=dtype).data)
        _bring_to_disk(file)
    return broken


def numbers(vectors: pa.FixedSizeListArray) -> np.ndarray:
    """The (n, F) numbers of a column of vectors, without a copy."""
    width = vectors.type.list_size
    return vectors.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)


def _batches(parts: Sequence[Part]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield from part.batches()


def _tables(batches: Iterable[pa.RecordBatch], rows: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of ``rows`` rows; the last may have fewer."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(held, schema)
            yield table.slice(0, rows)
            held, count = table.slice(rows).to_batches(), count - rows
    if count:
        yield pa.Table.from_batches(held, schema)


def _write_parquet(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    with saved(path) as partial, partial.open("wb") as file:
        # Vectors of an encoder hardly repeat: to look for repetitions costs time and saves nothing.
        plain = [name for name in schema.names if name != "vector"]
        options = {"use_dictionary": ["label"], "write_statistics": plain}
        with pq.ParquetWriter(
            file, schema, compression={name: "zstd" for name in plain}, **options
        ) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=len(table))
        _bring_to_disk(file)


def _bring_to_disk(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def _missing(parts: Sequence[Part]) -> Iterator[int]:
    for part in parts:
        expected = part.start
        for batch in part.batches():
            for index in batch.column("index").to_pylist():
                yield from range(expected, index)
                expected = index + 1
        yield from range(expected, part.stop)


def _write_broken(path: Path, missing: Iterable[int], source: Source) -> int:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    count = 0
    for index in missing:
        writer.writerow((source.identity(index), index))
        count += 1
    path.unlink(missing_ok=True)
    if count:
        with saved(path) as partial:
            write_bytes(partial, ("id,index\n" + lines.getvalue()).encode(errors="surrogateescape"))
    return count

"""Embeddings in a file: read piece by piece, never all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from anyjepa.embedding.files import ENDINGS, KEY, ids_beside, numbers
from anyjepa.embedding.plan import Plan
from anyjepa.errors import DataError

CHUNK = 8192
"""Vectors read at once."""


class Embeddings:
    """A file that ``anyjepa embed`` has written; or any Parquet file with an ``id`` and a ``vector`` of fixed length.

    Args:
        path: the ``.parquet`` or ``.npy`` file.

    Attributes:
        plan: how the embeddings were made; None in a file of other origin.
        width: numbers per row.

    Raises:
        DataError: it is not there, not whole, or holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._vectors: np.ndarray | None = None
        if self.path.suffix not in ENDINGS:
            raise DataError(f"{path} is not a file of embeddings: expected {' or '.join(ENDINGS)}")
        if not self.path.is_file():
            raise DataError(
                f"{path} does not exist; make it with: anyjepa embed RUN --data PATH --out {path}"
            )
        names = self.path if self.path.suffix == ".parquet" else ids_beside(self.path)
        if not names.is_file():
            raise DataError(f"{path} lacks the names of its rows: {names.name} is not beside it")
        self._table = _open(names)
        schema: pa.Schema = self._table.schema_arrow
        raw = (schema.metadata or {}).get(KEY)
        self.plan = None if raw is None else Plan.from_json(raw, str(path))
        self.labelled = "label" in schema.names
        if "id" not in schema.names:
            raise DataError(f"{path} has no column 'id'; its columns: {', '.join(schema.names)}")
        if self.path.suffix == ".npy":
            self._vectors = _map(self.path)
            self.width = int(np.prod(self._vectors.shape[1:]))
            if len(self._vectors) != len(self):
                raise DataError(
                    f"{path} has {len(self._vectors)} vectors, {ids_beside(self.path)} has {len(self)} ids: they belong apart"
                )
            return
        kind = schema.field("vector").type if "vector" in schema.names else None
        if kind is None or not pa.types.is_fixed_size_list(kind):
            raise DataError(f"{path} has no column 'vector' of lists of one fixed size, but {kind}")
        self.width = kind.list_size

    def __len__(self) -> int:
        return self._table.metadata.num_rows

    def chunks(self) -> Iterator[Float[np.ndarray, "n F"]]:
        """All vectors in order, some at a time, as float32."""
        size = max(1, min(CHUNK, (1 << 26) // (4 * self.width)))
        if self._vectors is not None:
            flat = self._vectors.reshape(len(self), self.width)
            for start in range(0, len(self), size):
                yield np.asarray(flat[start : start + size], dtype=np.float32)
            return
        for batch in self._table.iter_batches(size, columns=["vector"]):
            yield numbers(batch.column("vector")).astype(np.float32, copy=False)

    def vector(self, row: int) -> Float[np.ndarray, "F"]:
        """The vector of one row, as float32."""
        if self._vectors is not None:
            return np.asarray(self._vectors[row], dtype=np.float32).reshape(-1)
        return numbers(self._take("vector", [row]).chunk(0))[0].astype(np.float32)

    def column(self, name: str, rows: Sequence[int]) -> list[Any]:
        """Values of ``id``, ``index`` or ``label`` in some rows."""
        return self._take(name, rows).to_pylist()

    def find(self, name: str) -> int | None:
        """The row with this id, or None."""
        start = 0
        for batch in self._table.iter_batches(1 << 16, columns=["id"]):
            at = pc.index(batch.column("id"), name).as_py()
            if at >= 0:
                return start + at
            start += batch.num_rows
        return None

    def some_ids(self, most: int = 10_000) -> list[str]:
        """The first ids, to suggest one."""
        batch = next(self._table.iter_batches(most, columns=["id"]), None)
        return [] if batch is None else batch.column("id").to_pylist()

    def _take(self, name: str, rows: Sequence[int]) -> pa.ChunkedArray:
        """Values of a column, read from the row groups they lie in and no others."""
        groups = [self._table.metadata.row_group(g).num_rows for g in range(self._table.num_row_groups)]
        starts = np.cumsum([0, *groups])
        wanted = np.searchsorted(starts, np.asarray(rows), side="right") - 1
        chunks: dict[int, pa.ChunkedArray] = {
            g: self._table.read_row_group(g, columns=[name]).column(name) for g in set(wanted.tolist())
        }
        kind = self._table.schema_arrow.field(name).type
        taken = [
            chunks[g].slice(row - int(starts[g]), 1).combine_chunks()
            for g, row in zip(wanted.tolist(), rows, strict=True)
        ]
        return pa.chunked_array(taken, kind)


def read_plan(path: Path) -> Plan:
    """How the embeddings in a file were made.

    Raises:
        DataError: the file is not one of ours.
    """
    plan = Embeddings(path).plan
    if plan is None:
        raise DataError(f"{path} was not written by anyjepa embed: name another file, or use --overwrite")
    return plan


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole parquet file: {error}") from error


def _map(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim < 2 or array.dtype.kind != "f":
        raise DataError(f"{path} is not an array of vectors")
    return array

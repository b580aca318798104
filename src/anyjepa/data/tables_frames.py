"""Tables that a Python caller hands over: pandas, polars, pyarrow, NumPy, lists of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from anyjepa.data.tables_files import MemoryTable, unique
from anyjepa.errors import DataError


def column_names(x: Any) -> tuple[str, ...] | None:
    """Names of the columns of a frame; None where there are none, as in an array.

    Raises:
        DataError: a name occurs twice.
    """
    if isinstance(x, pa.Table | pa.RecordBatch):
        return unique(x.schema.names, "X")
    if _is_frame(x):
        return unique(list(x.columns), "X")
    return None


def as_table(x: Any, names: Sequence[str] | None = None) -> MemoryTable:
    """A table in memory; what is in it is not copied where that can be helped.

    Args:
        x: a frame of pandas or polars, a pyarrow table, or whatever NumPy makes an array (rows, columns) of.
        names: of the columns of an array; None: x0, x1, ...

    Raises:
        DataError: it is none of these, its columns have no unique names, or cells of a column have several types.
    """
    if isinstance(x, pa.RecordBatch):
        x = pa.Table.from_batches([x])
    if isinstance(x, pa.Table):
        return MemoryTable(dict(zip(unique(x.schema.names, "X"), x.columns, strict=True)))
    if _is_frame(x):
        texts = unique(list(x.columns), "X")
        if hasattr(x, "to_arrow"):
            return MemoryTable(dict(zip(texts, x.to_arrow().columns, strict=True)))
        return MemoryTable({name: _column(name, x.iloc[:, i]) for i, name in enumerate(texts)})
    if hasattr(x, "tocsr"):
        raise DataError("X is sparse; a table has a value in every cell: use X.toarray()")
    try:
        array = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"X must be a frame or an array (rows, columns), got {type(x).__name__}: {error}"
        ) from None
    if array.ndim != 2:
        raise DataError(
            f"X has shape {array.shape}; expected rows and columns (2D): reshape it, e.g. X.reshape(-1, 1)"
        )
    if array.dtype.kind not in "biufOUSM":
        raise DataError(f"X holds {array.dtype}; expected numbers, texts or truth values")
    if names is None:
        names = [f"x{i}" for i in range(array.shape[1])]
    if len(names) != array.shape[1]:
        raise DataError(f"X has {array.shape[1]} columns, expected {len(names)}: {', '.join(names[:20])}")
    return MemoryTable({name: _column(name, array[:, i]) for i, name in enumerate(unique(names, "X"))})


def _is_frame(x: Any) -> bool:
    return hasattr(x, "columns") and (hasattr(x, "iloc") or hasattr(x, "to_arrow"))


def _column(name: str, cells: Any) -> pa.Array:
    """One column; cells of several types as texts, so that what is no number is found and named later."""
    values = np.asarray(cells) if isinstance(cells, np.ndarray) else cells
    if isinstance(values, np.ndarray):
        values = np.ascontiguousarray(values)
        if values.dtype.kind == "S":
            values = values.astype(str)
        if values.dtype == np.float16 or (values.dtype.kind == "f" and values.dtype.itemsize > 8):
            values = values.astype(np.float64)
    try:
        found = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        found = pa.array([_text(name, cell) for cell in np.asarray(values, dtype=object)], pa.string())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _text(name: str, cell: Any) -> str | None:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return None
    if isinstance(cell, str | bool | int | float | np.generic):
        return str(cell)
    if getattr(cell, "__module__", "").startswith("pandas") and str(cell) in ("<NA>", "NaT"):
        return None
    raise DataError(
        f"column '{name}' holds {type(cell).__name__}: expected numbers, texts, truth values or times; argument must be a string "
        "or a number"
    )

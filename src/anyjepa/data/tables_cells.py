"""Cells of a column as numbers, or as texts, whatever type they are stored in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from anyjepa.data.tables import is_text
from anyjepa.errors import DataError


class Strange(NamedTuple):
    """A cell that is no number: its row in the block, and what it says."""

    row: int
    text: str


def plain(cells: pa.Array, missing: Sequence[str]) -> pa.Array:
    """The same cells without dictionaries and views; texts without spaces around them, and null where a word means missing."""
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if str(cells.type) in ("string_view", "large_string", "large_utf8"):
        cells = cells.cast(pa.string())
    if is_text(cells.type):
        cells = pc.utf8_trim_whitespace(cells)
        words = pc.is_in(cells, value_set=pa.array(list(missing), cells.type))
        return pc.if_else(words, pa.scalar(None, cells.type), cells)
    return cells


def is_number(kind: pa.DataType) -> bool:
    """Whether cells of this type are numbers, or times."""
    t = pa.types
    return t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind) or is_time(kind) or t.is_null(kind)


def is_time(kind: pa.DataType) -> bool:
    """Whether cells of this type are times or days."""
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def holds(kind: pa.DataType) -> str:
    """``"number"``, ``"category"`` or ``"text"``, which may be either; ``""``: none of them."""
    if is_number(kind):
        return "number"
    if pa.types.is_boolean(kind) or pa.types.is_dictionary(kind):
        return "category"
    return "text" if is_text(kind) or str(kind) == "string_view" else ""


def numbers(cells: pa.Array) -> tuple[Float[np.ndarray, "n"], Strange | None]:
    """float64 with NaN where a value is missing, and the first cell that is no number: it and all others like it are NaN.

    Times are seconds since 1970.

    Args:
        cells: what :func:`plain` made.
    """
    kind = cells.type
    if pa.types.is_null(kind):
        return np.full(len(cells), np.nan), None
    if is_time(kind):
        seconds = cells.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).cast(pa.float64(), safe=False)
        return seconds.to_numpy(zero_copy_only=False) / 1e6, None
    if pa.types.is_boolean(kind):
        cells = cells.cast(pa.uint8())
    if not is_text(cells.type):
        return cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64), None
    try:
        return cells.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64), None
    except pa.ArrowInvalid:
        # Only now cell by cell.
        values = np.full(len(cells), np.nan)
        strange = None
        for i, text in enumerate(cells.to_pylist()):
            if text is None:
                continue
            try:
                values[i] = float(text)
            except ValueError:
                strange = strange or Strange(i, text)
        return values, strange


def texts(cells: pa.Array) -> pa.Array:
    """As texts, null where a value is missing; whole numbers without a fraction, whatever their type.

    Args:
        cells: what :func:`plain` made.
    """
    kind = cells.type
    if is_text(kind):
        return cells
    if pa.types.is_null(kind):
        return pa.nulls(len(cells), pa.string())
    if pa.types.is_boolean(kind):
        return pc.if_else(cells, "True", "False")
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
        different, place = np.unique(values, return_inverse=True)
        names = [
            None if np.isnan(v) else str(int(v)) if v.is_integer() else repr(float(v)) for v in different
        ]
        return pa.array(names, pa.string()).take(pa.array(place))
    return cells.cast(pa.string())


def refuse_strange(column: str, strange: Strange, row: str) -> DataError:
    """The error for a text among numbers."""
    return DataError(
        f"column '{column}' holds numbers, but {row} says {strange.text[:40]!r}: correct it, add the word to tables.missing, or "
        f"put the column into tables.categories"
    )

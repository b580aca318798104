"""Rows of a table as samples: scaled numbers and codes, read once, in memory or in a file that is mapped into it."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.data.base import Source, encode_labels
from anyjepa.data.dataset import Dataset, Indices
from anyjepa.data.tables import LABEL_NAMES, label_column
from anyjepa.data.tables_cells import is_number, numbers, plain, refuse_strange, texts
from anyjepa.data.tables_config import Column, TableReport, TablesConfig
from anyjepa.data.tables_files import Table
from anyjepa.data.tables_fit import Progress, fit_columns
from anyjepa.errors import DataError

IN_MEMORY = 1 << 28
"""Bytes of encoded rows that are held in memory; more go to a temporary file (see TMPDIR)."""


class RowStore:
    """Rows (N, d) of float32 that are added block by block and then read in any order.

    Args:
        width: d.
        in_memory: bytes up to which they stay in memory.
    """

    def __init__(self, width: int, in_memory: int = IN_MEMORY) -> None:
        self.width, self.rows = width, 0
        self._limit = in_memory
        self._blocks: list[np.ndarray] = []
        self._path: Path | None = None
        self._values: np.ndarray | None = None

    def add(self, block: Float[np.ndarray, "n d"]) -> None:
        """Append rows; raises DataError when the disk is full."""
        self.rows += len(block)
        self._blocks.append(block)
        if sum(held.nbytes for held in self._blocks) > self._limit:
            self._write()

    def _write(self) -> None:
        try:
            if self._path is None:
                with tempfile.NamedTemporaryFile(prefix="anyjepa-rows-", suffix=".f32", delete=False) as file:
                    self._path = Path(file.name)
                weakref.finalize(self, self._path.unlink, missing_ok=True)
            with self._path.open("ab") as file:
                for block in self._blocks:
                    file.write(np.ascontiguousarray(block, dtype=np.float32).data)
        except OSError as error:
            raise DataError(
                f"cannot keep {self.rows} rows in {self._path or tempfile.gettempdir()}: {error.strerror}; the variable TMPDIR "
                "names another place"
            ) from error
        self._blocks = []

    @property
    def values(self) -> Float[np.ndarray, "N d"]:
        """All rows; a file is mapped, not read."""
        if self._values is None:
            if self._path is None:
                empty = np.zeros((0, self.width), dtype=np.float32)
                self._values = np.concatenate([empty, *self._blocks])
            else:
                self._write()
                self._values = np.memmap(self._path, np.float32, "r", shape=(self.rows, self.width))
            self._blocks = []
        return self._values

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker maps the same file; the process that made it deletes it.
        values = self.values
        return self.__dict__ | {"_values": None if self._path else values}


class TableSource(Source):
    """Rows of a table. Of the config, ``columns`` is learned from these rows when it is None.

    Args:
        table: where the rows are.
        config: how they are read.
        labels: read the labels.
        guess: a column that is named like a label is none of the features, without being asked for.
        progress: told of the rows that are done.

    Raises:
        DataError: see :func:`~anyjepa.data.tables_fit.fit_columns`; or features or labels are not there.
    """

    channels = 1

    def __init__(
        self,
        table: Table,
        config: TablesConfig,
        *,
        labels: bool = False,
        guess: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self.table, self.config, self._with_labels, self._guess = table, config, labels, guess
        given = config.columns
        known = {column.name for column in given or ()}
        label = self._label(known)
        outside = {} if label is None else {label: "the label"}
        group = config.group_column
        if group is not None:
            if group not in table.names:
                raise DataError(f"{table.name} has no column '{group}' (tables.group_column)")
            if group in known:
                raise DataError(f"'{group}' is a feature of the model: it cannot say whose a row is")
            outside[group] = "the group"
        rare: tuple[tuple[str, int], ...] = ()
        left_out: tuple[tuple[str, str], ...] = ()
        if given is None:
            fitted = fit_columns(table, config, outside, progress)
            given, rare, left_out = fitted.columns, fitted.rare, fitted.left_out
        missing = [column.name for column in given if column.name not in table.names]
        if missing:
            raise DataError(
                f"{table.name} has no column {', '.join(map(repr, missing[:8]))}, on which the model was trained; it has "
                f"{', '.join(table.names[:20])}"
            )
        self.columns: tuple[Column, ...] = given
        self._store = RowStore(len(given))
        self.rows: np.ndarray | None = None
        answers, groups = self._read(label if labels else None, group, progress)
        if not self._store.rows:
            raise DataError(f"{table.name} has no rows")
        if config.limit is not None and config.limit < self._store.rows:
            self.rows = np.arange(config.limit, dtype=np.int64) * self._store.rows // config.limit
        if labels:
            self.labels, self.class_names = encode_labels(
                _numbers_if_they_are(self._chosen(answers)), f"column '{label}'"
            )
        if group is not None:
            names, self.groups = np.unique(self._chosen(groups).astype(str), return_inverse=True)
            self.group_names = tuple(names.tolist())
        self.report = TableReport(
            rows=len(self),
            numbers=tuple(c.name for c in given if c.kind == "number"),
            categories=tuple((c.name, c.cardinality) for c in given if c.kind == "category"),
            missing=tuple((c.name, int(n)) for c, n in zip(given, self._absent.tolist(), strict=True) if n),
            rare=rare,
            left_out=left_out,
            broken=tuple(table.broken),
        )

    def __len__(self) -> int:
        return self._store.rows if self.rows is None else len(self.rows)

    def read(self, i: int) -> Tensor:
        return self.take(np.array([i]))[0]

    def take(self, indices: np.ndarray) -> Float[Tensor, "B 1 d"]:
        """Some rows at once."""
        where = indices if self.rows is None else self.rows[indices]
        return torch.from_numpy(np.ascontiguousarray(self._store.values[where]))[:, None]

    def identity(self, i: int) -> str:
        return self.table.identity(i if self.rows is None else int(self.rows[i]))

    def with_columns(self, columns: tuple[Column, ...]) -> TableSource:
        """The same table, read with features that were learned elsewhere."""
        config = replace(self.config, columns=columns)
        return TableSource(self.table, config, labels=self._with_labels, guess=self._guess)

    def _label(self, known: set[str]) -> str | None:
        """The column of the labels; None when there is none, or none is looked for."""
        names, config = self.table.names, self.config
        if self._with_labels or config.label_column is not None:
            if not self._with_labels and config.label_column not in names:
                # Rows that are to be embedded need no labels.
                return None
            free = [name for name in names if name not in known]
            if config.label_column in known:
                raise DataError(
                    f"column '{config.label_column}' is a feature of the model: train it without, with "
                    f"tables.label_column={config.label_column}"
                )
            return label_column(free, config.label_column, self.table.name)
        if not self._guess:
            return None
        return next((name for name in LABEL_NAMES if name in names and name not in known), None)

    def _read(
        self, label: str | None, group: str | None, progress: Progress | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        answers: list[np.ndarray] = []
        groups: list[np.ndarray] = []
        self._absent = np.zeros(len(self.columns), dtype=np.int64)
        extra = [name for name in (label, group) if name is not None]
        for block in self.table.blocks([*(c.name for c in self.columns), *extra]):
            rows = self._encode(block)
            self._absent += np.isnan(rows).sum(axis=0)
            self._store.add(rows)
            if label is not None:
                answers.append(_answers(block[label], self.config.missing, label))
            if group is not None:
                groups.append(np.array(_whole(block[group], self.config.missing, group).to_pylist()))
            if progress is not None:
                progress(self._store.rows, 0)
        return answers, groups

    def _encode(self, block: dict[str, pa.Array]) -> Float[np.ndarray, "n d"]:
        count = len(next(iter(block.values())))
        rows = np.empty((count, len(self.columns)), dtype=np.float32)
        for j, column in enumerate(self.columns):
            rows[:, j] = self._coded(column, plain(block[column.name], self.config.missing))
        return rows

    def _coded(self, column: Column, cells: pa.Array) -> Float[np.ndarray, "n"]:
        """A column as the model takes it: NaN where a value is missing, or unknown and not to be told from others."""
        if column.kind == "number":
            values, strange = numbers(cells)
            if strange is not None:
                raise refuse_strange(column.name, strange, self._row(strange.row))
            with np.errstate(over="ignore"):
                scaled = ((values - column.shift) / column.scale).astype(np.float32)
            if np.isinf(scaled).any():
                row = int(np.isinf(scaled).argmax())
                raise DataError(
                    f"column '{column.name}' is infinite in {self._row(row)}: {values[row]:g}; replace it, or leave it empty"
                )
            return scaled
        words = texts(cells)
        codes = pc.index_in(words, value_set=pa.array(column.categories, pa.string()))
        found = codes.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
        if column.other:
            known = words.is_valid().to_numpy(zero_copy_only=False)
            found[np.isnan(found) & known] = len(column.categories)
        return found

    def _row(self, i: int) -> str:
        return f"row {self._store.rows + i}"

    def _chosen(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        every = np.concatenate(parts)
        return every if self.rows is None else every[self.rows]


def _whole(cells: pa.Array, missing: Sequence[str], name: str) -> pa.Array:
    found = texts(plain(cells, missing))
    if found.null_count:
        raise DataError(
            f"column '{name}' lacks {found.null_count} values: fill them in, or leave those rows out"
        )
    return found


def _answers(cells: pa.Array, missing: Sequence[str], name: str) -> np.ndarray:
    """Labels of a block: numbers where they are stored as such, else texts."""
    cells = plain(cells, missing)
    if is_number(cells.type):
        return numbers(cells)[0]
    return np.array(_whole(cells, missing, name).to_pylist(), dtype=str)


def _numbers_if_they_are(labels: np.ndarray) -> np.ndarray:
    """Labels of a text file: numbers, if all of them are."""
    if labels.dtype.kind != "U":
        return labels
    try:
        return labels.astype(np.float64)
    except ValueError:
        return labels


class TablesDataset(Dataset):
    """Batches of rows. Nothing about a row is drawn: the method hides columns, the data change nothing."""

    noun = "rows"
    source: TableSource

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, len(self.source.columns))

    def draw(self, step: int, indices: Indices, seed: int) -> Float[Tensor, "B 1 d"]:
        return self.evaluation(indices)

    def evaluation(self, indices: Indices) -> Float[Tensor, "B 1 d"]:
        return self.source.take(np.asarray(indices, dtype=np.int64))

    def finish(self, samples: list[Tensor]) -> Float[Tensor, "B 1 d"]:
        return torch.stack(samples)

"""What the columns of a table hold, learned in one pass over the training rows: kinds, categories, scales."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anyjepa.data.tables_cells import Strange, holds, is_number, numbers, plain, refuse_strange, texts
from anyjepa.data.tables_config import Column, TablesConfig
from anyjepa.data.tables_files import Table
from anyjepa.errors import DataError, nearest

MOST_TEXTS = 100_000
"""Different texts of a column beyond which it is no column of categories: names, numbers of rows, free text."""
MIXED = 0.5
"""A column of texts that are numbers in at least this share of its cells is one of numbers with mistakes."""

Progress = Callable[[int, int], None]


@dataclass
class Tally:
    """Everything counted about one column."""

    name: str
    forced: str = ""
    """``"number"`` or ``"category"`` where the user says so."""
    kind: str = ""
    """What the type of its cells says."""
    rows: int = 0
    missing: int = 0
    numeric: int = 0
    """Cells that are numbers."""
    strange: tuple[str, Strange] | None = None
    """Name of the row of the first cell that is none, and the cell."""
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared deviations from the mean."""
    low: float = np.inf
    high: float = -np.inf
    counts: Counter[str] | None = field(default_factory=Counter)
    """How often each text occurs; None: there are too many."""

    def add(self, cells: pa.Array, missing: Sequence[str], identity: Callable[[int], str]) -> None:
        """Count a block that follows on those before it; ``identity`` names a row of it."""
        kind = holds(cells.type)
        if not kind:
            raise DataError(
                f"column '{self.name}' holds {cells.type}; expected numbers, texts, truth values or times: leave it out with "
                "tables.ignore"
            )
        # A column of nothing so far may turn out to be anything.
        if self.kind in ("", "null"):
            self.kind = "null" if pa.types.is_null(cells.type) else kind
        elif kind != self.kind and not pa.types.is_null(cells.type):
            raise DataError(f"column '{self.name}' has cells of different types in different files or blocks")
        cells = plain(cells, missing)
        self.rows += len(cells)
        if (self.forced or kind) != "category":
            self._add_numbers(cells, identity)
        else:
            self.missing += cells.null_count
        countable = self.forced == "category" or (not self.forced and kind != "number")
        if countable and self.counts is not None:
            self._add_texts(texts(cells))

    def _add_numbers(self, cells: pa.Array, identity: Callable[[int], str]) -> None:
        values, strange = numbers(cells)
        if strange is not None and self.strange is None:
            self.strange = (identity(strange.row), strange)
        if np.isinf(values).any():
            row = identity(int(np.isinf(values).argmax()))
            raise DataError(
                f"column '{self.name}' is infinite in {row}: replace it, or leave it empty where it is unknown"
            )
        known = values[~np.isnan(values)]
        # A text that is no number is not missing.
        self.missing += len(values) - len(known) if is_number(cells.type) else cells.null_count
        if not len(known):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(known.mean())
            squares = float(np.square(known - mean).sum())
            total, apart = self.numeric + len(known), mean - self.mean
            self.squares += squares + apart**2 * self.numeric * len(known) / total
            self.mean += apart * len(known) / total
        self.numeric = total
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))

    def _add_texts(self, cells: pa.Array) -> None:
        assert self.counts is not None
        for entry in pc.value_counts(cells.drop_null()):
            self.counts[entry["values"].as_py()] += entry["counts"].as_py()
        if len(self.counts) > MOST_TEXTS:
            self.counts = None

    @property
    def is_category(self) -> bool:
        """Whether it is a column of categories; raises DataError for numbers with mistakes."""
        if self.forced == "category":
            return True
        if self.strange is not None and self.forced == "number":
            raise refuse_strange(self.name, self.strange[1], self.strange[0])
        if self.forced == "number" or self.kind in ("number", "null"):
            return False
        if self.kind == "category":
            return True
        known = self.rows - self.missing
        if self.strange is None:
            return False
        if self.numeric >= MIXED * known:
            raise refuse_strange(self.name, self.strange[1], self.strange[0])
        return True

    def column(self, config: TablesConfig) -> tuple[Column | None, str, int]:
        """The feature, or None and why it is none; and how many rare categories share a code."""
        if self.missing == self.rows:
            return None, "nothing but missing values", 0
        if self.is_category:
            return self._categories(config.max_categories)
        if self.low == self.high:
            return None, f"always {self.low:g}", 0
        spread = float(np.sqrt(self.squares / self.numeric))
        if not np.isfinite([spread, self.mean, self.high - self.low]).all():
            raise DataError(f"column '{self.name}' reaches to {self.high:.3g}: too large to be scaled")
        shift, scale = {
            "standard": (self.mean, spread),
            "minmax": (self.low, self.high - self.low),
            "none": (0.0, 1.0),
        }[config.scaling]
        if scale == 0.0:
            return None, f"always close to {self.mean:g}", 0
        return Column(self.name, "number", shift=shift, scale=scale), "", 0

    def _categories(self, most: int) -> tuple[Column | None, str, int]:
        if self.counts is None:
            raise DataError(
                f"column '{self.name}' has more than {MOST_TEXTS} different texts: it looks like a name or a number of a row; "
                "leave it out with tables.ignore"
            )
        if len(self.counts) == 1:
            return None, f"always {next(iter(self.counts))[:40]!r}", 0
        ranked = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        kept = tuple(sorted(name for name, _ in ranked[:most]))
        rare = len(ranked) - len(kept)
        return Column(self.name, "category", kept, other=rare > 0), "", rare


@dataclass(frozen=True)
class Fitted:
    """Features of a table, and what was found on the way."""

    columns: tuple[Column, ...]
    rows: int
    rare: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, str], ...]


def fit_columns(
    table: Table, config: TablesConfig, outside: dict[str, str], progress: Progress | None = None
) -> Fitted:
    """Read a table once and decide on its features.

    Columns that say nothing, because they are empty or always the same, are no features.

    Args:
        table: the training rows.
        config: what the user says about columns.
        outside: columns that are no features, and why.
        progress: told of (rows, 0) now and then.

    Raises:
        DataError: a column is named that is not there, holds texts among numbers, or infinite or too many different values; or
            there are not two features.
    """
    for option in ("ignore", "categories", "numbers"):
        for name in getattr(config, option):
            if name not in table.names:
                raise DataError(
                    f"tables.{option} names '{name}', but {table.name} has no such column: {nearest(name, table.names)}"
                )
    left_out = dict(outside) | dict.fromkeys(config.ignore, "tables.ignore")
    forced = dict.fromkeys(config.categories, "category") | dict.fromkeys(config.numbers, "number")
    tallies = [Tally(name, forced.get(name, "")) for name in table.names if name not in left_out]
    rows = 0
    for block in table.blocks([tally.name for tally in tallies]):
        for tally in tallies:
            tally.add(block[tally.name], config.missing, lambda i, start=rows: f"row {start + i}")  # type: ignore[misc]
        rows += len(next(iter(block.values()))) if block else 0
        if progress is not None:
            progress(rows, 0)
    if rows < 2:
        raise DataError(
            f"{table.name} has {rows} row{'s' * (rows != 1)} (n_samples = {rows}): a scale needs at least 2"
        )
    columns: list[Column] = []
    rare: list[tuple[str, int]] = []
    for tally in tallies:
        column, why, count = tally.column(config)
        if column is None:
            left_out[tally.name] = why
            continue
        columns.append(column)
        rare += [(tally.name, count)] if count else []
    if len(columns) < 2:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise DataError(
            f"{table.name} has {len(columns)} feature(s) of {len(table.names)} column(s) (n_features = {len(columns)}): at least "
            f"2 that vary are needed, one to be predicted from the other{f' ({reasons})' if reasons else ''}"
        )
    return Fitted(tuple(columns), rows, tuple(rare), tuple(left_out.items()))

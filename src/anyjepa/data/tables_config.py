"""How tables are read: which columns are features, what they hold, how numbers are scaled, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anyjepa.data.broken import Broken
from anyjepa.errors import ConfigError

MISSING = ("", "?", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""Texts that stand for a missing value, spaces around them taken off."""
SHOWN = 8
"""Columns that are named of a long list."""


@dataclass(frozen=True)
class Column:
    """A feature as it was learned from the training rows; later rows are read with it."""

    name: str
    """Name of the column in the table."""
    kind: Literal["number", "category"]
    """What it holds."""
    categories: tuple[str, ...] = ()
    """Texts of the categories in the order of their codes 0, 1, ..."""
    other: bool = False
    """The training rows had rarer categories too: these, and unknown ones later, have the code after the last. Without, an
    unknown category is a missing value."""
    shift: float = 0.0
    """Taken off a number."""
    scale: float = 1.0
    """Divides it then."""

    @property
    def cardinality(self) -> int:
        """Number of codes, 0 for numbers."""
        return 0 if self.kind == "number" else len(self.categories) + self.other


@dataclass(frozen=True)
class TablesConfig:
    """How tables are read. Kinds of columns, categories and scales are those of the training rows."""

    label_column: str | None = None
    """Column of the labels, which is never a feature; None: one named label, labels, target, class or y, where a file has one."""
    group_column: str | None = None
    """Column that says whose a row is, never a feature: no one is in training and in test."""
    ignore: tuple[str, ...] = ()
    """Columns to leave out: numbers of rows, names, whatever must not be seen."""
    categories: tuple[str, ...] = ()
    """Columns of categories that look like numbers."""
    numbers: tuple[str, ...] = ()
    """Columns that must hold numbers: any other text in them is an error."""
    missing: tuple[str, ...] = MISSING
    """Texts that stand for a missing value. NaN and empty cells always do."""
    scaling: Literal["standard", "minmax", "none"] = "standard"
    """Numbers to mean 0 and standard deviation 1 (paper), to 0..1 (official code, there over all rows), or as they are."""
    max_categories: int = 1000
    """Categories of a column beyond so many, the rarest, share one code."""
    header: bool = True
    """The first line of a .csv names the columns; else they are x0, x1, ..."""
    delimiter: str | None = None
    """Between the cells of a .csv; None: the most frequent of comma, semicolon, tab and bar in the first line."""
    columns: tuple[Column, ...] | None = None
    """The features; None: learned from the data. A run writes them down."""
    max_broken: float = 0.01
    """Largest share of lines that may have too few or too many cells; they are left out and counted."""
    limit: int | None = None
    """Use that many rows, evenly spread over all."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_broken <= 1:
            raise ConfigError(f"tables.max_broken must lie in 0..1, got {self.max_broken}")
        for name in ("limit", "max_categories"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"tables.{name} must be at least 1, got {getattr(self, name)}")
        both = sorted(set(self.categories) & set(self.numbers))
        if both:
            raise ConfigError(f"{', '.join(both)}: in tables.categories and in tables.numbers; keep one")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ConfigError(f"tables.delimiter must be one character, got {self.delimiter!r}")


@dataclass(frozen=True)
class TableReport:
    """What was found in a table, and what was done about it. ``str()`` of it is for people."""

    rows: int
    """Rows that are used."""
    numbers: tuple[str, ...]
    """Features of numbers."""
    categories: tuple[tuple[str, int], ...]
    """Features of categories with the number of their codes."""
    missing: tuple[tuple[str, int], ...]
    """Features with missing values or unknown categories, and how many; they are tokens of their own."""
    rare: tuple[tuple[str, int], ...]
    """Features with more categories than have a code, and how many share the last one."""
    left_out: tuple[tuple[str, str], ...]
    """Columns that are no features, and why."""
    broken: tuple[Broken, ...]
    """Lines with too few or too many cells, which are left out."""

    @property
    def looked_at(self) -> int:
        """Rows that were read."""
        return self.rows + len(self.broken)

    def __str__(self) -> str:
        lines = [
            f"{self.rows} rows: {len(self.numbers)} columns of numbers, {len(self.categories)} of categories"
            + (f" ({_listed(f'{name}: {n}' for name, n in self.categories)})" if self.categories else "")
        ]
        if self.missing:
            told = _listed(f"{name}: {n}" for name, n in self.missing)
            lines.append(f"missing values or unknown categories in {len(self.missing)} columns ({told})")
        for name, count in self.rare:
            lines.append(f"the {count} rarest categories of {name} share one code")
        if self.left_out:
            lines.append(f"left out: {_listed(f'{name} ({why})' for name, why in self.left_out)}")
        if self.broken:
            lines.append(
                f"{len(self.broken)} lines have too few or too many cells and are left out; the first: {self.broken[0].name}, "
                f"{self.broken[0].reason}"
            )
        return "\n".join(lines)


def _listed(words: object) -> str:
    names = list(words)  # type: ignore[call-overload]
    return ", ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")

"""Tables as a kind of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyjepa.contract import Method
from anyjepa.data.base import Source
from anyjepa.data.modality import Modality, Progress
from anyjepa.data.tables import names_images
from anyjepa.data.tables_config import TableReport, TablesConfig
from anyjepa.data.tables_files import ENDINGS, PARQUET, TEXT, open_table
from anyjepa.data.tables_frames import as_table
from anyjepa.data.tables_source import TablesDataset, TableSource
from anyjepa.errors import ConfigError, DataError

MOST_CODES = 256
"""Categories of a column up to which each is a feature of its own without learning; beyond, the code is one number."""


class Tables(Modality):
    """Rows with columns of numbers and of categories, some of them missing."""

    name = "tables"
    noun = "rows"
    config = TablesConfig
    opens = f"a table ({', '.join(ENDINGS)}) or a folder of them with the same columns"
    axes = "1, columns"
    inherited = ("columns",)
    unlearned = "numbers as they are scaled, 0 where missing, a mark where they are missing, a feature for each category"

    def holds(self, file: Path) -> bool:
        """A table of text or Parquet is one of rows unless a column of it holds images or names them."""
        if not file.name.lower().endswith((*TEXT, *PARQUET)) or not file.is_file():
            return False
        try:
            if file.name.lower().endswith(PARQUET):
                schema = pq.read_schema(file)
            else:
                schema = pa.schema([(name, pa.string()) for name in _first_line(file)])
        except (DataError, pa.ArrowException, OSError):
            return False
        return len(schema.names) > 1 and not names_images(schema)

    def open(
        self,
        path: str | Path,
        config: TablesConfig,
        *,
        labels: bool = False,
        progress: Progress | None = None,
    ) -> TableSource:
        table = open_table(path, config.header, config.delimiter)
        return TableSource(table, config, labels=labels, progress=progress)

    def given(self, x: Any, config: TablesConfig, shape: tuple[int, ...] | None = None) -> Source:
        if isinstance(x, Source | str | Path):
            return super().given(x, config, shape)
        # Every column of a frame in memory is meant to be there, whatever its name.
        return TableSource(as_table(x), config, guess=False)

    def inspect(self, source: Source, config: TablesConfig) -> TableReport:
        return _rows(source).report

    def shape(self, source: Source, config: TablesConfig, report: Any) -> tuple[int, int]:
        return (1, len(_rows(source).columns))

    def suit(self, config: TablesConfig, shape: tuple[int, ...]) -> TablesConfig:
        if len(shape) != 2 or shape[0] != 1:
            raise ConfigError(f"the method takes samples of shape {shape}, not rows (1, columns)")
        if config.columns is not None and len(config.columns) != shape[1]:
            raise ConfigError(
                f"the model takes {shape[1]} columns, tables.columns names {len(config.columns)}: leave one of the two out"
            )
        return config

    def settle(self, source: Source, config: TablesConfig) -> tuple[Source, TablesConfig]:
        """The features, learned from the training rows unless others were given."""
        rows = _rows(source)
        if config.columns is None:
            return rows, replace(config, columns=rows.columns)
        return (rows if rows.columns == config.columns else rows.with_columns(config.columns)), config

    def place(self, model: Any, source: Source, config: TablesConfig) -> Any:
        """How many categories each column has."""
        if not hasattr(model, "cardinalities"):
            return model
        found = tuple(column.cardinality for column in config.columns or _rows(source).columns)
        if model.cardinalities not in (None, found):
            raise ConfigError(
                f"model.cardinalities={list(model.cardinalities)}, but the table has {list(found)}: leave it out"
            )
        return replace(model, cardinalities=found)

    def dataset(self, source: Source, config: TablesConfig) -> TablesDataset:
        rows = _rows(source)
        if config.columns is not None and rows.columns != config.columns:
            rows = rows.with_columns(config.columns)
        return TablesDataset(rows, config)

    def seen(self, config: TablesConfig) -> Any:
        return (config.columns, config.label_column, config.group_column, config.missing)

    def raw(self, method: Method) -> Callable[[Tensor], Float[Tensor, "B F"]]:
        kinds = getattr(method.config, "cardinalities", None) or (0,) * method.input_shape()[1]
        return one_hot(tuple(kinds))


def one_hot(cardinalities: tuple[int, ...]) -> Callable[[Tensor], Float[Tensor, "B F"]]:
    """Reads rows (B, 1, d) as features without learning: see :attr:`Tables.unlearned`.

    Args:
        cardinalities: categories of each column, 0 for numbers.
    """

    def read(samples: Float[Tensor, "B 1 d"]) -> Float[Tensor, "B F"]:
        row = samples[:, 0]
        known = ~torch.isnan(row)
        parts = []
        for j, size in enumerate(cardinalities):
            value = torch.where(known[:, j], row[:, j], 0.0)
            if 0 < size <= MOST_CODES:
                codes = value.round().clamp(0, size - 1).long()
                parts.append(F.one_hot(codes, size) * known[:, j : j + 1])
            else:
                parts.append(value[:, None])
            parts.append(~known[:, j : j + 1])
        return torch.cat([part.to(samples.dtype) for part in parts], dim=1)

    return read


def _first_line(file: Path) -> tuple[str, ...]:
    """Names of the columns of a text; numbers of them where there is no line of names, since some occur twice."""
    try:
        return open_table(file).names
    except DataError:
        return open_table(file, header=False).names


def _rows(source: Source) -> TableSource:
    if not isinstance(source, TableSource):
        raise DataError(
            f"expected rows as anyjepa.data.tables_source reads them, got {type(source).__name__}"
        )
    return source

"""What a Python caller hands over as the inputs of a model: a frame, an array, a file, or token matrices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.config import from_dict
from anyjepa.data.base import encode_labels
from anyjepa.data.tables_config import TablesConfig
from anyjepa.data.tables_files import Table, open_table
from anyjepa.data.tables_frames import as_table
from anyjepa.data.tables_source import TableSource
from anyjepa.errors import DataError
from anyjepa.evaluation.budgets import Labels
from anyjepa.tabular.inputs import Inputs


def learn_inputs(x: Any, options: Mapping[str, Any] | None = None) -> tuple[Inputs, TablesConfig | None]:
    """Inputs of training rows, and how later rows are read; None for tokens.

    Args:
        x: tokens (N, d, h), or what :class:`~anyjepa.tabular.TJEPA` takes.
        options: fields of :class:`~anyjepa.data.tables_config.TablesConfig`.

    Raises:
        DataError: x is neither.
        ConfigError: an option is unknown.
    """
    if _is_tokens(x):
        return Inputs(tokens=_tokens(x)), None
    config = from_dict(TablesConfig, dict(options or {}), "tables.")
    source = TableSource(_table(x, config), config, guess=isinstance(x, str | Path))
    return inputs_of(source), from_dict(
        TablesConfig, {**(options or {}), "columns": source.columns}, "tables."
    )


def read_inputs(x: Any, reading: TablesConfig | None) -> Inputs:
    """Inputs of later samples, read like the training rows; raises DataError when they are of another kind."""
    if reading is None:
        if not _is_tokens(x):
            raise DataError(f"the model was fitted on tokens (N, d, h), got {type(x).__name__}")
        return Inputs(tokens=_tokens(x))
    if _is_tokens(x):
        raise DataError("the model was fitted on columns, got an array of three axes")
    return inputs_of(TableSource(_table(x, reading), reading, guess=False))


def inputs_of(source: TableSource) -> Inputs:
    """All rows of a source."""
    rows = source.take(np.arange(len(source)))[:, 0].numpy()
    return Inputs(rows, tuple(column.cardinality for column in source.columns))


def read_labels(y: Any) -> tuple[Labels, tuple[str, ...] | None]:
    """Labels as numbers, and names of the classes where they are texts; raises DataError when some are missing."""
    array = np.asarray(y)
    if array.dtype.kind == "O":
        # As a column of texts of a frame arrives.
        strange = [i for i, each in enumerate(array.ravel()) if not isinstance(each, str)]
        if strange and any(isinstance(each, str) for each in array.ravel()):
            raise DataError(
                f"y: label {strange[0]} is {array.ravel()[strange[0]]!r} among texts: fill it in, or drop it"
            )
        array = array if strange else array.astype(str)
    return encode_labels(array, "y")


def _table(x: Any, config: TablesConfig) -> Table:
    return open_table(x, config.header, config.delimiter) if isinstance(x, str | Path) else as_table(x)


def _is_tokens(x: Any) -> bool:
    return getattr(x, "ndim", 0) == 3


def _tokens(x: Any) -> np.ndarray:
    found = np.asarray(x, dtype=np.float32)
    if 0 in found.shape or not np.isfinite(found).all():
        raise DataError(f"tokens must be finite numbers (N, d, h), got shape {found.shape}")
    return found

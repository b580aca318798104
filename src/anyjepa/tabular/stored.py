"""The directory of a saved transformer: the model as :func:`anyjepa.load` reads it, and a file of the estimator's parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyjepa.data.tables_config import TablesConfig
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.layouts import own_files
from anyjepa.hub.load import read
from anyjepa.hub.read import Loaded
from anyjepa.hub.write import write_directory

ESTIMATOR = "estimator.json"
"""File beside the model that holds the parameters of the estimator."""


@dataclass(frozen=True)
class About:
    """What an estimator knows besides its model."""

    params: dict[str, Any]
    """Arguments of its constructor."""
    columns: list[str] | None
    """Names of the columns of the training table; None: an array."""
    width: int
    """Their number."""


def write_estimator(path: Path, about: About, loaded: Loaded, overwrite: bool) -> None:
    """Write model and parameters.

    Raises:
        ConfigError: something is there already, or a parameter cannot be written as JSON.
        CheckpointError: it cannot be written.
    """
    params = dict(about.params)
    for name in ("categorical", "numerical", "ignore"):
        params[name] = None if params[name] is None else list(params[name])
    params["out"] = None if params["out"] is None else str(params["out"])
    if not isinstance(params["random_state"], int | None):
        params["random_state"] = None
    files = own_files(loaded)
    try:
        plain = {"params": params, "columns": about.columns, "width": about.width}
        files[ESTIMATOR] = json.dumps(plain, indent=2) + "\n"
    except TypeError as error:
        raise ConfigError(f"the parameters cannot be written as JSON: {error}") from error
    write_directory(path, files, overwrite)


def read_estimator(path: Path) -> tuple[About, Loaded]:
    """What :func:`write_estimator` wrote; raises CheckpointError when it is not there, damaged, or not for tables."""
    loaded = read(path)
    try:
        plain = json.loads((path / ESTIMATOR).read_text())
        about = About(dict(plain["params"]), plain["columns"], int(plain["width"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise no_estimator(path, error) from None
    if not isinstance(loaded.reading, TablesConfig):
        raise CheckpointError(f"{path} holds a model for {loaded.modality.name}, not for tables")
    return about, loaded


def no_estimator(path: str | Path, error: Exception) -> CheckpointError:
    """The error for a directory without a whole estimator."""
    return CheckpointError(f"{path} holds no estimator that was saved: {ESTIMATOR}: {error}")

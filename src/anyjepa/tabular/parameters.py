"""Parameters of the transformer as the config of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyjepa.data.tables_files import Table
from anyjepa.errors import ConfigError, nearest
from anyjepa.training import RunConfig

_GROUPS = ("model", "tables", "train")


def check_choices(given: Any) -> None:
    """Refuse parameters that no run config would refuse.

    Args:
        given: the transformer.

    Raises:
        ConfigError: a word is unknown, or the batch is empty.
    """
    for name, choices in (("pooling", ("tokens", "mean")), ("encoder", ("target", "context"))):
        if getattr(given, name) not in choices:
            raise ConfigError(
                f"unknown {name} '{getattr(given, name)}': {nearest(str(getattr(given, name)), choices)}"
            )
    if given.batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {given.batch_size}")
    for name in given.options or {}:
        if name not in _GROUPS:
            raise ConfigError(f"unknown group '{name}' in options: {nearest(name, _GROUPS)}")


def run_config(given: Any, run: str, seed: int, table: Table) -> RunConfig:
    """The run that fits a transformer.

    Args:
        given: the transformer.
        run: directory of the run.
        seed: of weights, masks and order.
        table: the training rows, by whose columns positions become names.

    Raises:
        ConfigError: a parameter is unknown or impossible.
    """
    extra: dict[str, dict[str, Any]] = {name: dict(group) for name, group in (given.options or {}).items()}
    model: dict[str, Any] = {"size": given.size, "seed": seed, "registers": given.registers}
    model |= extra.get("model", {})
    optim = {"steps": given.steps} | ({} if given.lr is None else {"lr": given.lr})
    model["optim"] = optim | dict(model.get("optim", {}))
    tables: dict[str, Any] = {"scaling": given.scaling}
    for name, chosen in (
        ("categories", given.categorical),
        ("numbers", given.numerical),
        ("ignore", given.ignore),
    ):
        if chosen is not None:
            tables[name] = [_name(column, table.names) for column in chosen]
    # No loader processes: a fit may itself run in a worker, which must not start others.
    train: dict[str, Any] = {"seed": seed, "batch_size": given.batch_size, "workers": 0}
    if given.device == "cpu":
        train["accelerator"] = "cpu"
    values = {
        "model": model,
        "tables": tables | extra.get("tables", {}),
        "train": train | extra.get("train", {}),
    }
    return RunConfig.from_mapping({"method": "tjepa", "data": "X", "out": run} | values)


def _name(column: str | int, names: Sequence[str]) -> str:
    """Name of a column that is given by its name or its position."""
    if isinstance(column, str):
        return column
    if not -len(names) <= column < len(names):
        raise ConfigError(f"there is no column {column} in a table of {len(names)}")
    return names[column]

"""Every setting of a run, and whether somebody chose it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from anyjepa.bundle import Shape
from anyjepa.config import to_dict
from anyjepa.errors import AnyjepaError
from anyjepa.report.record import Record, attempt
from anyjepa.training import RunConfig

CHANGED, DERIVED, DEFAULT, UNKNOWN = "changed", "derived", "default", "unknown"
"""States of a setting: differs from the default; was left open and follows from size or data; is the default; has none."""
MOST_SHOWN = 24
"""Values of a list that are shown: categories of a table can be thousands."""


@dataclass(frozen=True)
class Setting:
    """One setting: its dotted key, value, default, and state."""

    key: str
    value: str
    default: str
    state: str


@dataclass(frozen=True)
class Settings:
    """All settings in the order of the config; ``problem``: why defaults are unknown, or ``""``."""

    rows: tuple[Setting, ...]
    problem: str

    @property
    def changed(self) -> tuple[Setting, ...]:
        """Those that differ from their default."""
        return tuple(row for row in self.rows if row.state == CHANGED)


def settings(record: Record) -> Settings:
    """The settings of a run. Where the config is not of this version's classes, values stand without defaults."""
    actual, problem = attempt(lambda: RunConfig.from_mapping(record.config))
    if actual is None:
        return Settings(
            tuple(Setting(key, _text(value), "", UNKNOWN) for key, value in _flat(record.config)), problem
        )
    bare = RunConfig(actual.method, type(actual.model)(), actual.data, actual.out)
    usual = dict(_flat(bare.plain()))
    shape = record.method.input_shape() if record.method else None
    rows = []
    for key, value in _flat(actual.plain()):
        if key in ("method", "data", "out"):
            rows.append(Setting(key, _text(value), "", UNKNOWN))
            continue
        default = usual.get(key)
        if value == default:
            state = DEFAULT
        elif default is None and value == (default := _filled_in(actual, key, shape)):
            state = DERIVED
        else:
            state = CHANGED
        rows.append(Setting(key, _text(value), _text(default), state))
    return Settings(tuple(rows), "")


def _filled_in(config: RunConfig, key: str, shape: Shape | None) -> Any:
    """What an open field becomes when all others are as in this run; None where nobody fills it in."""
    group, _, path = key.partition(".")
    kind = config.modality
    try:
        if group == kind.name and shape is not None:
            fitted = kind.suit(_opened(config.reading, path.split(".")), shape)
        elif group == "model" and hasattr(config.model, "fit"):
            opened = _opened(config.model, path.split("."))
            fitted = opened.fit(shape or config.model.default_shape)
        else:
            return None
    except AnyjepaError:
        return None
    return dict(_flat(to_dict(fitted))).get(path)


def _opened(config: Any, path: list[str]) -> Any:
    """The config with one field None."""
    inner = None if len(path) == 1 else _opened(getattr(config, path[0]), path[1:])
    return replace(config, **{path[0]: inner})


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_text(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        if len(value) > MOST_SHOWN and isinstance(value[0], list | tuple):
            return f"{len(value)} x {len(value[0])} values"
        shown = ", ".join(map(_text, value[:MOST_SHOWN])) or "none"
        return shown + (f", and {len(value) - MOST_SHOWN} more" if len(value) > MOST_SHOWN else "")
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).lower() if isinstance(value, bool) else str(value)

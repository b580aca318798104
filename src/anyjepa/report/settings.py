"""Every setting of a run, and whether somebody chose it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from anyjepa.config import to_dict
from anyjepa.report.record import Record, attempt
from anyjepa.training import RunConfig

CHANGED, DERIVED, DEFAULT, UNKNOWN = "changed", "derived", "default", "unknown"
"""States of a setting: differs from the default; was left open and follows from size or data; is the default; has none."""


@dataclass(frozen=True)
class Setting:
    """One setting: its dotted key, value, default, and state."""

    key: str
    value: str
    default: str
    state: str


@dataclass(frozen=True)
class Settings:
    """All settings in groups of the same first key, in the order of the config; ``problem``: why defaults are unknown."""

    groups: tuple[tuple[str, tuple[Setting, ...]], ...]
    changed: int
    problem: str


def settings(record: Record) -> Settings:
    """The settings of a run. Where the config is not of this version's classes, values stand without defaults."""
    defaults, problem = attempt(lambda: _defaults(record))
    plain, fitted = defaults or ({}, {})
    groups: dict[str, list[Setting]] = {}
    changed = 0
    for key, value in _flat(record.config):
        group = key.partition(".")[0] if "." in key else "run"
        if key not in plain:
            state, usual = UNKNOWN, ""
        elif plain[key] == value:
            state, usual = DEFAULT, _text(plain[key])
        elif plain[key] is None and fitted.get(key) == value:
            state, usual = DERIVED, "from size or data"
        else:
            state, usual = CHANGED, _text(fitted.get(key, plain[key]))
        changed += state == CHANGED
        groups.setdefault(group, []).append(Setting(key, _text(value), usual, state))
    return Settings(tuple((name, tuple(rows)) for name, rows in groups.items()), changed, problem)


def _defaults(record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flat defaults of a run of this method; and the same as they were filled in for its size and its data."""
    actual = RunConfig.from_mapping(record.config)
    bare = RunConfig(actual.method, type(actual.model)(), actual.data, actual.out)
    plain = dict(_flat(to_dict(bare)))
    for key in ("method", "data", "out"):
        del plain[key]
    open_fields = {k: getattr(actual.model, k) for k in ("size", "image_size") if hasattr(actual.model, k)}
    model: Any = replace(bare.model, **open_fields) if is_dataclass(bare.model) else bare.model
    fitted = bare
    if hasattr(model, "fit"):
        shape = record.method.input_shape() if record.method else _shape(actual)
        found, _ = attempt(lambda: model.fit(shape))
        fitted = replace(bare, model=found or model)
        size = shape[1:] if len(shape) == 3 else None
        fitted = replace(fitted, images=replace(fitted.images, size=size, channels=shape[0]))
    return plain, dict(_flat(to_dict(fitted)))


def _shape(config: RunConfig) -> tuple[int, ...]:
    height, width = getattr(config.model, "image_size", None) or (224, 224)
    return (getattr(config.model, "channels", None) or 3, height, width)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)

"""The list of methods. A decorator on the method class is all that is needed to appear everywhere."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from anyjepa.contract import Method
from anyjepa.errors import ConfigError, nearest

T = TypeVar("T", bound=type[Method])


@dataclass(frozen=True)
class Entry:
    """One registered method: its class, its config class and what the list of methods prints about it."""

    name: str
    method: type[Method]
    config: type
    summary: str
    modality: str
    citation: str
    licence: str


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str, *, config: type, summary: str, modality: str, citation: str, licence: str
) -> Callable[[T], T]:
    """Class decorator that registers a method under ``name``.

    Args:
        name: name on the command line.
        config: its frozen config dataclass; must have a field ``optim``.
        summary: one line: what it learns from what.
        modality: data it is for, e.g. ``"images"``.
        citation: authors, title, arXiv number.
        licence: licence of the official weights, if there are any.
    """

    def wrap(cls: T) -> T:
        if name in _ENTRIES:
            raise ConfigError(f"method '{name}' is registered twice")
        cls.name = name
        _ENTRIES[name] = Entry(name, cls, config, summary, modality, citation, licence)
        return cls

    return wrap


def _import_all() -> None:
    import anyjepa.methods as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def names() -> list[str]:
    """Names of all methods."""
    _import_all()
    return sorted(_ENTRIES)


def entry(name: str) -> Entry:
    """The entry of one method; raises ConfigError with the nearest name if there is none."""
    _import_all()
    if name not in _ENTRIES:
        raise ConfigError(f"unknown method '{name}': {nearest(name, _ENTRIES)}")
    return _ENTRIES[name]


def create(name: str, config: Any = None, **fields: Any) -> Method:
    """A new method with random weights.

    Args:
        name: e.g. ``"ijepa"``.
        config: its config object; None: made from ``fields``.
        **fields: config fields, e.g. ``size="tiny", image_size=96``; nested ones as dictionaries (``optim={"steps": 100}``).
    """
    from anyjepa.config import from_dict

    found = entry(name)
    return found.method(from_dict(found.config, fields) if config is None else config)

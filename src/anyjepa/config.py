"""Configuration: a frozen dataclass, the same thing as a dictionary, as YAML, and as command-line arguments."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from anyjepa.errors import ConfigError, nearest

T = TypeVar("T")


def to_dict(obj: Any) -> dict[str, Any]:
    """A config as nested plain values: what YAML and JSON can hold."""
    return {f.name: _plain(getattr(obj, f.name)) for f in dataclasses.fields(obj)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def from_dict(cls: type[T], values: dict[str, Any], path: str = "") -> T:
    """The config of class ``cls`` with these values; what is not named keeps its default, also within a group of keys.

    Raises:
        ConfigError: an unknown key (with the nearest valid one), or a value of another type.
    """
    hints = typing.get_type_hints(cls)
    names = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    chosen = {}
    for key, value in values.items():
        if key not in names:
            raise ConfigError(f"unknown key '{path}{key}': {nearest(str(key), names)}")
        factory = names[key].default_factory
        if isinstance(value, dict) and factory is not dataclasses.MISSING:
            # A method may have other constants in a group than the class of the group has: LeJEPA's optim, say.
            group = factory()
            if dataclasses.is_dataclass(group) and not isinstance(group, type):
                value = {f.name: getattr(group, f.name) for f in dataclasses.fields(group)} | value
        chosen[key] = _typed(hints[key], value, f"{path}{key}")
    return cls(**chosen)


def _typed(hint: Any, value: Any, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        errors = []
        for option in (a for a in args if a is not type(None)):
            try:
                return _typed(option, value, path)
            except ConfigError as error:
                errors.append(error)
        raise errors[-1]
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(
                f"{path}={value!r} is not one of the choices: {nearest(str(value), map(str, args))}"
            )
        return value
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{path} must be a group of keys, got {value!r}")
        return from_dict(hint, value, f"{path}.")  # type: ignore[arg-type]
    if origin is dict:
        # What is in it is for whoever asked for plain values.
        hint = dict
    if origin is tuple:
        return _typed_tuple(args, value, path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{path} must be {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def _typed_tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{path} must be a list, got {value!r}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_typed(args[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if len(args) != len(value):
        raise ConfigError(f"{path} must have {len(args)} values, got {list(value)!r}")
    return tuple(_typed(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))


def to_yaml(obj: Any) -> str:
    """A config as YAML text, keys in the order of the dataclass."""
    return yaml.safe_dump(to_dict(obj), sort_keys=False)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file as a dictionary; raises ConfigError when it is not there, not YAML, or not a group of keys."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values, it holds {type(values).__name__}")
    return values

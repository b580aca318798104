"""Demonstrations in HDF5: robomimic (``data/demo_N``), ALOHA (a file per episode), Minari (``episode_N``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data.episodes import Episode, Found, Frames
from anyjepa.data.episodes_frames import H5Frames
from anyjepa.data.episodes_npz import ACTIONS, STATES, camera_name, columns, joined, natural
from anyjepa.data.files import regular
from anyjepa.errors import DataError, MissingExtraError

PRIVILEGED = ("object",)
"""Arrays of robomimic that no sensor of the robot gives."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An HDF5 file for reading.

    Raises:
        DataError: it is torn, or none.
        MissingExtraError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "robot") from error
    try:
        with h5py.File(regular(path), "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def found_hdf5(paths: Sequence[Path], state: tuple[str, ...] | None) -> Iterator[Found]:
    """The episodes of some files.

    Raises:
        DataError: a file cannot be read, or has another layout.
    """
    for path in paths:
        with opened(path) as file:
            inside = file["data"] if "data" in file and hasattr(file["data"], "keys") else file
            groups = [
                key
                for key in sorted(inside.keys(), key=natural)
                if hasattr(inside[key], "keys") and any(action in inside[key] for action in ACTIONS)
            ]
            fps = _rate(file.attrs)
            if not groups and not any(action in file for action in ACTIONS):
                raise DataError(
                    f"{path} holds no actions: expected data/demo_N/actions (robomimic), action (ALOHA) or "
                    f"episode_N/actions (Minari), got {', '.join(list(file.keys())[:6]) or 'nothing'}"
                )
            places = [f"{inside.name.rstrip('/')}/{key}" for key in groups] or ["/"]
        for place in places:
            name = path.name if place == "/" else f"{path.name}:{place.rpartition('/')[2]}"
            yield Found(name, partial(_load, path, place, name, state, fps))


def _load(path: Path, place: str, name: str, state: tuple[str, ...] | None, fps: float | None) -> Episode:
    with opened(path) as file:
        group = file[place]
        action = columns(group[next(key for key in ACTIONS if key in group)][:])
        seen = next((key for key in ("obs", "observations", "observation") if key in group), None)
        if seen is None:
            raise DataError(f"{name} has no observations (obs or observations)")
        numbers, pictures = _split(group[seen], "")
        keys = _state_keys(numbers, state, name)
        parts = [columns(numbers[key][:]) for key in keys]
        # Minari and some others hold what is seen after the last action too.
        parts = [part[: len(action)] if len(part) == len(action) + 1 else part for part in parts]
        cameras: dict[str, Frames] = {
            camera_name(key): H5Frames(path, stored.name, len(action)) for key, stored in pictures.items()
        }
        short = [key for key, stored in pictures.items() if len(stored) < len(action)]
        if short:
            raise DataError(
                f"{name}: camera {short[0]} has fewer pictures than there are actions ({len(action)})"
            )
        return Episode(name, joined(parts, keys, name), action, _task(group, file), cameras, fps)


def _split(node: Any, prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays of numbers (T,) or (T, k), and pictures, by their path within the observations."""
    if not hasattr(node, "keys"):
        return {"observations": node}, {}
    numbers: dict[str, Any] = {}
    pictures: dict[str, Any] = {}
    for key in sorted(node.keys()):
        one, full = node[key], f"{prefix}{key}"
        if hasattr(one, "keys"):
            deeper = _split(one, f"{full}/")
            numbers |= deeper[0]
            pictures |= deeper[1]
        elif one.ndim == 4 or (one.ndim == 2 and one.dtype == np.uint8):
            pictures[full] = one
        elif one.ndim in (1, 2) and one.dtype.kind in "fiub":
            numbers[full] = one
    return numbers, pictures


def _state_keys(numbers: dict[str, Any], wanted: tuple[str, ...] | None, name: str) -> tuple[str, ...]:
    if wanted is not None:
        missing = [key for key in wanted if key not in numbers]
        if missing:
            raise DataError(f"{name} has no {', '.join(missing)}: it has {', '.join(numbers)}")
        return wanted
    usual = next((key for key in STATES if key in numbers), None)
    keys = (usual,) if usual else tuple(key for key in numbers if key not in PRIVILEGED)
    if not keys:
        raise DataError(f"{name} has no state: no array of numbers among its observations")
    return keys


def _task(group: Any, file: Any) -> str:
    for place in (group, file):
        for key in ("task", "language_instruction", "env_args"):
            value = place.attrs.get(key)
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            if isinstance(value, str) and key == "env_args":
                try:
                    value = json.loads(value).get("env_name")
                except (ValueError, AttributeError):
                    value = None
            if isinstance(value, str) and value:
                return value
    return ""


def _rate(attributes: Any) -> float | None:
    value = attributes.get("fps", attributes.get("control_freq"))
    return float(value) if isinstance(value, int | float | np.number) else None

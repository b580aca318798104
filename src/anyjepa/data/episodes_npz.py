"""Demonstrations in .npz archives: keys ``NN/observations`` and ``NN/actions``, or one episode to a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from anyjepa.data.episodes import Episode, Found, Frames
from anyjepa.data.episodes_frames import NpzFrames
from anyjepa.data.npz import npz_axes, read_npz
from anyjepa.errors import DataError

STATES = ("observation.state", "state", "qpos", "observations", "observation", "obs")
"""Names of the state, best first."""
ACTIONS = ("action", "actions")
TASKS = ("task", "tasks", "language_instruction")
CAMERA = re.compile(r"^(?:observations?[./])?(?:images?[./])?(.+)$")


def camera_name(key: str) -> str:
    """What a camera is called: ``observation.images.top`` is ``top``, ``observation.image`` is ``image``."""
    found = CAMERA.match(key)
    return (found[1] if found else key).removesuffix("_image")


def natural(name: str) -> tuple[object, ...]:
    """Sorts ``demo_10`` after ``demo_9``."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))


def chosen_keys(present: Sequence[str], wanted: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    """The keys of the state: those that were asked for, or the first usual one.

    Raises:
        DataError: they are not there.
    """
    if wanted is not None:
        missing = [key for key in wanted if key not in present]
        if missing:
            raise DataError(f"{where} has no {', '.join(missing)}: it has {', '.join(sorted(present))}")
        return wanted
    usual = next((name for name in STATES if name in present), None)
    if usual is None:
        raise DataError(
            f"{where} has no state ({', '.join(STATES)}), it has {', '.join(sorted(present))}: name it with episodes.state"
        )
    return (usual,)


def found_npz(paths: Sequence[Path], state: tuple[str, ...] | None) -> Iterator[Found]:
    """The episodes of some archives.

    Raises:
        DataError: an archive cannot be read, or holds no actions.
    """
    for path in paths:
        axes = npz_axes(path)
        episodes = sorted({key.rpartition("/")[0].split("/")[0] for key in axes}, key=natural)
        if not any(key.rpartition("/")[2] in ACTIONS for key in axes):
            raise DataError(
                f"{path} holds no actions: expected keys NN/observations and NN/actions, got {', '.join(list(axes)[:6])}"
            )
        for episode in episodes:
            prefix = f"{episode}/" if episode else ""
            inside = {key.removeprefix(prefix): axis for key, axis in axes.items() if key.startswith(prefix)}
            name = f"{path.name}:{episode}" if episode else path.name
            yield Found(name, partial(_load, path, prefix, inside, name, state))


def _load(path: Path, prefix: str, axes: dict[str, int], name: str, state: tuple[str, ...] | None) -> Episode:
    flat = [key for key, axis in axes.items() if axis in (1, 2)]
    action = next((key for key in ACTIONS if key in flat), None)
    if action is None:
        raise DataError(f"{name} has no actions ({' or '.join(ACTIONS)})")
    keys = chosen_keys(flat, state, name)
    parts = [columns(read_npz(path, prefix + key)) for key in keys]
    task = next((key for key in TASKS if key in axes), None)
    words = np.atleast_1d(read_npz(path, prefix + task)) if task else None
    cameras: dict[str, Frames] = {
        camera_name(key): NpzFrames(path, prefix + key) for key, axis in axes.items() if axis == 4
    }
    return Episode(
        name,
        joined(parts, keys, name),
        columns(read_npz(path, prefix + action)),
        str(words[0]) if words is not None and len(words) else "",
        cameras,
    )


def columns(values: np.ndarray) -> np.ndarray:
    """Numbers (T,) or (T, k) as float32 (T, k)."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise DataError(f"expected numbers, got {array.dtype}")
    return array.astype(np.float32).reshape(len(array), -1)


def joined(parts: Sequence[np.ndarray], keys: Sequence[str], name: str) -> np.ndarray:
    """Arrays of one episode beside each other; raises DataError when they are not of one length."""
    if len({len(part) for part in parts}) > 1:
        raise DataError(
            f"{name}: {dict(zip(keys, map(len, parts), strict=True))} frames: they must be as many"
        )
    return np.concatenate(parts, axis=1)

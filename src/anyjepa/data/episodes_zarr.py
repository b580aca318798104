"""Demonstrations in zarr as diffusion policy has them: ``data/action``, ``data/state``, ``data/img``, ``meta/episode_ends``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data.episodes import Episode, Found, Frames
from anyjepa.data.episodes_frames import ZarrFrames
from anyjepa.data.episodes_npz import ACTIONS, camera_name, chosen_keys, columns, joined
from anyjepa.errors import DataError, MissingExtraError


@lru_cache(maxsize=4)
def opened(path: Path) -> Any:
    """A store, a folder or a .zip of one.

    Raises:
        DataError: it is none.
        MissingExtraError: zarr is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise MissingExtraError("zarr", "robot") from error
    try:
        store: Any = zarr.storage.ZipStore(path, mode="r") if path.suffix == ".zip" else str(path)
        return zarr.open_group(store, mode="r")
    except Exception as error:  # zarr and its codecs fed with broken bytes raise what their parts raise
        raise DataError(f"cannot read {path}: {error}") from error


def array_of(group: Any, key: str, path: Path) -> Any:
    """An array of a store; raises DataError when there is none."""
    try:
        return group[key]
    except Exception as error:  # as above
        raise DataError(f"{path} has no array '{key}' that can be read: {error}") from error


def found_zarr(path: Path, state: tuple[str, ...] | None) -> Iterator[Found]:
    """The episodes of a store.

    Raises:
        DataError: it has another layout, or the ends of its episodes do not ascend.
    """
    group = opened(path)
    try:
        stored = {key: array for key, array in group["data"].arrays()}
        ends = np.asarray(group["meta/episode_ends"][:]).astype(np.int64)
    except Exception as error:  # as above
        raise DataError(f"{path}: expected data/... and meta/episode_ends, got {error}") from error
    action = next((key for key in ACTIONS if key in stored), None)
    if action is None:
        raise DataError(f"{path} has no data/action: it has {', '.join(stored)}")
    total = stored[action].shape[0]
    if len(ends) == 0 or (np.diff(ends, prepend=0) < 1).any() or ends[-1] > total:
        raise DataError(
            f"{path}: meta/episode_ends must ascend and end at {total}, got {ends[:5].tolist()}...{ends[-1:].tolist()}"
        )
    keys = chosen_keys(
        [k for k, array in stored.items() if array.ndim <= 2 and k != action], state, str(path)
    )
    pictures = [key for key, array in stored.items() if array.ndim == 4]
    for i, (start, stop) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)):
        name = f"{path.name}:{i}"
        yield Found(name, partial(_load, path, name, keys, action, pictures, start, stop))


def _load(
    path: Path, name: str, keys: tuple[str, ...], action: str, pictures: list[str], start: int, stop: int
) -> Episode:
    group = opened(path)
    try:
        parts = [columns(group[f"data/{key}"][start:stop]) for key in keys]
        done = columns(group[f"data/{action}"][start:stop])
    except DataError:
        raise
    except Exception as error:  # as above
        raise DataError(f"{name}: {error}") from error
    # The store of Push-T calls its one camera img.
    cameras: dict[str, Frames] = {
        "image" if key == "img" else camera_name(key): ZarrFrames(path, f"data/{key}", start, stop)
        for key in pictures
    }
    return Episode(name, joined(parts, keys, name), done, "", cameras)

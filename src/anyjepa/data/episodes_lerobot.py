"""Demonstrations as LeRobot stores them: v2.0 and v2.1 (a file per episode), v3 (files of many episodes)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anyjepa.data.episodes import AbsentError, Episode, Found, Frames
from anyjepa.data.episodes_frames import EncodedFrames, VideoFrames
from anyjepa.data.episodes_npz import camera_name, chosen_keys, joined
from anyjepa.data.files import regular
from anyjepa.errors import DataError

INFO = Path("meta/info.json")
DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
DATA_3 = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_3 = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


@dataclass(frozen=True)
class _Place:
    """Where an episode lies: its table, its rows in it, its task, and for each camera a video and the second it begins."""

    number: int
    table: Path
    task: str
    videos: dict[str, tuple[Path, float]]
    length: int | None


def found_lerobot(
    root: Path, state: tuple[str, ...] | None, cameras: tuple[str, ...] | None
) -> Iterator[Found]:
    """The episodes that a data set says it has.

    Args:
        root: its folder, in which ``meta/info.json`` lies.
        state: keys of the state; None: observation.state.
        cameras: cameras that are wanted; None: all.

    Raises:
        DataError: what it says of itself cannot be read.
    """
    info = _json(root / INFO)
    version = str(info.get("codebase_version", "v2.0")).lstrip("v")
    features = info.get("features")
    if not isinstance(features, dict) or "action" not in features:
        raise DataError(f"{root / INFO} names no features, or no action among them")
    pictures = {
        key: str(value.get("dtype"))
        for key, value in features.items()
        if isinstance(value, dict) and value.get("dtype") in ("video", "image")
    }
    wanted = {k: v for k, v in pictures.items() if cameras is None or camera_name(k) in cameras}
    fps = info.get("fps")
    if not isinstance(fps, int | float) or fps <= 0:
        raise DataError(f"{root / INFO}: fps must be a number above 0, got {fps!r}")
    numbers = [key for key in features if key not in pictures]
    keys = chosen_keys(numbers, state, str(root / INFO))
    for place in _places_3(root, info, wanted) if version.startswith("3") else _places_2(root, info, wanted):
        name = f"episode {place.number}"
        yield Found(name, partial(_load, place, name, keys, wanted, float(fps)))


def _places_2(root: Path, info: dict[str, Any], pictures: dict[str, str]) -> Iterator[_Place]:
    size = int(info.get("chunks_size") or 1000)
    for line in _lines(root / "meta/episodes.jsonl"):
        number = int(line["episode_index"])
        words = {"episode_chunk": number // size, "episode_index": number}
        videos = {
            key: (_path(root, info.get("video_path") or VIDEO, words | {"video_key": key}), 0.0)
            for key, kind in pictures.items()
            if kind == "video"
        }
        told = line.get("tasks") or [""]
        task = told if isinstance(told, str) else str(told[0])
        yield _Place(
            number, _path(root, info.get("data_path") or DATA, words), task, videos, line.get("length")
        )


def _places_3(root: Path, info: dict[str, Any], pictures: dict[str, str]) -> Iterator[_Place]:
    files = sorted((root / "meta/episodes").rglob("*.parquet"))
    if not files:
        raise DataError(f"{root} says it is of version 3 and has no meta/episodes/*/*.parquet")
    for file in files:
        for line in _table(file, None).to_pylist():
            try:
                videos = {}
                for key in (k for k, kind in pictures.items() if kind == "video"):
                    words = {n: line[f"videos/{key}/{n}"] for n in ("chunk_index", "file_index")}
                    path = _path(root, info.get("video_path") or VIDEO_3, words | {"video_key": key})
                    videos[key] = (path, float(line[f"videos/{key}/from_timestamp"]))
                words = {n: line[f"data/{n}"] for n in ("chunk_index", "file_index")}
                tasks = line.get("tasks") or [""]
                yield _Place(
                    int(line["episode_index"]),
                    _path(root, info.get("data_path") or DATA_3, words),
                    str(tasks[0]),
                    videos,
                    line.get("length"),
                )
            except (KeyError, TypeError) as error:
                raise DataError(f"{file} lacks {error} of an episode") from error


def _load(place: _Place, name: str, keys: tuple[str, ...], pictures: dict[str, str], fps: float) -> Episode:
    stills = [key for key, kind in pictures.items() if kind == "image"]
    if not place.table.exists():
        raise AbsentError(f"{name} is not there ({place.table.name})")
    table = _table(place.table, (*keys, "action", "timestamp", "episode_index", *stills))
    if "episode_index" in table.column_names:
        rows = np.flatnonzero(np.asarray(table["episode_index"]) == place.number)
        table = table.take(pa.array(rows)) if len(rows) != len(table) else table
    missing = [key for key in (*keys, "action") if key not in table.column_names]
    if missing or not len(table):
        raise DataError(f"{name}: {place.table.name} has no {', '.join(missing) or 'rows of it'}")
    if place.length is not None and place.length != len(table):
        raise DataError(f"{name} has {len(table)} rows in {place.table.name}, its meta says {place.length}")
    _check_rate(table, name, fps)
    cameras: dict[str, Frames] = {}
    for key, (path, begin) in place.videos.items():
        if not path.is_file():
            raise DataError(f"{name} has no video of camera {camera_name(key)}: {path.name} is not there")
        video = VideoFrames(path, len(table), begin, fps)
        video.check()
        cameras[camera_name(key)] = video
    for key in stills:
        if key not in table.column_names:
            raise DataError(f"{name} has no pictures of camera {camera_name(key)}")
        cells = [cell.get("bytes") if isinstance(cell, dict) else cell for cell in table[key].to_pylist()]
        encoded = [cell for cell in cells if isinstance(cell, bytes)]
        if len(encoded) < len(cells):
            raise DataError(f"{name}: pictures of camera {camera_name(key)} are not in the table")
        cameras[camera_name(key)] = EncodedFrames(encoded, f"{name}, camera {camera_name(key)}")
    state = joined([_numbers(table[key], key, name) for key in keys], keys, name)
    return Episode(name, state, _numbers(table["action"], "action", name), place.task, cameras, fps)


def _check_rate(table: pa.Table, name: str, fps: float) -> None:
    if "timestamp" not in table.column_names or len(table) < 3:
        return
    gap = float(np.median(np.diff(np.asarray(table["timestamp"], dtype=np.float64).reshape(-1))))
    if gap <= 0 or abs(gap * fps - 1) > 0.05:
        rate = f"{1 / gap:.4g} frames a second" if gap > 0 else "standing still"
        raise DataError(f"{name}: the timestamps are {rate}, the data set says fps={fps:g}")


def _numbers(column: pa.ChunkedArray, key: str, name: str) -> np.ndarray:
    flat, count = column.combine_chunks(), len(column)
    try:
        while isinstance(flat, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
            flat = flat.flatten()
        values = flat.cast(pa.float32()).to_numpy(zero_copy_only=False)
        return values.reshape(count, -1)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"{name}: {key} is not the same number of values in every row: {error}") from error


@lru_cache(maxsize=2)
def _table(path: Path, columns: tuple[str, ...] | None) -> pa.Table:
    try:
        file = pq.ParquetFile(regular(path))
        return file.read(None if columns is None else [c for c in columns if c in file.schema_arrow.names])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _path(root: Path, template: str, words: dict[str, Any]) -> Path:
    """A path as the data set writes it down; it must stay within the data set."""
    try:
        path = (root / str(template).format(**words)).resolve()
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DataError(f"{root / INFO}: '{template}' is no path of an episode ({error})") from error
    if not path.is_relative_to(root.resolve()):
        raise DataError(f"{root / INFO}: '{template}' leads out of the data set")
    return path


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold one object, got {type(value).__name__}")
    return value


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = regular(path).read_text(encoding="utf-8").splitlines()
        lines = [json.loads(line) for line in text if line.strip()]
        if all(isinstance(line, dict) and "episode_index" in line for line in lines):
            return lines
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    raise DataError(f"{path}: each line must be an object with an episode_index")

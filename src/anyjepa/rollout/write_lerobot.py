"""Demonstrations as a LeRobot data set, version 2.1: a parquet file and, with pictures, an mp4 of each episode, and meta/."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anyjepa.errors import ConfigError
from anyjepa.rollout.demonstrations import Episode
from anyjepa.rollout.video import open_video, put
from anyjepa.rollout.world import Facts
from anyjepa.training.run_dir import write_whole

_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
CHUNK = 1000
"""Episodes of a folder."""


def write_lerobot(folder: Path, episodes: Iterable[Episode], facts: Facts) -> int:
    """Write episodes one by one as they come; the folder exists whole or not at all.

    Args:
        folder: must not exist.
        episodes: of one simulator.
        facts: of that simulator.

    Returns:
        How many there are.

    Raises:
        ConfigError: the folder is there already.
        MissingExtraError: there are pictures, and PyAV is not installed.
    """
    if folder.exists():
        raise ConfigError(f"{folder} is there already: name a new folder")
    part = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    rows: list[dict[str, Any]] = []
    stats: list[dict[str, Any]] = []
    try:
        for number, episode in enumerate(episodes):
            _write_episode(part, number, episode, facts, frames=sum(r["length"] for r in rows))
            rows.append({"episode_index": number, "tasks": [facts.about], "length": episode.steps})
            stats.append({"episode_index": number, "stats": _statistics(episode)})
        meta = part / "meta"
        meta.mkdir(parents=True)
        write_whole(meta / "info.json", json.dumps(_info(rows, facts), indent=1))
        write_whole(meta / "tasks.jsonl", json.dumps({"task_index": 0, "task": facts.about}) + "\n")
        write_whole(meta / "episodes.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_whole(meta / "episodes_stats.jsonl", "".join(json.dumps(row) + "\n" for row in stats))
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(rows)


def _key(part: str) -> str:
    return f"observation.{part}"


def _write_episode(folder: Path, number: int, episode: Episode, facts: Facts, frames: int) -> None:
    n = episode.steps
    columns: dict[str, Any] = {}
    for part, values in {
        **{_key(k): v for k, v in episode.observations.items()},
        "action": episode.actions,
    }.items():
        if values.ndim == 4:
            path = folder / _VIDEO.format(episode_chunk=number // CHUNK, episode_index=number, video_key=part)
            path.parent.mkdir(parents=True, exist_ok=True)
            container = open_video(path, facts.fps, values.shape[1], values.shape[2], quality=12)
            for picture in [*values, None]:
                put(container, picture)
        else:
            flat = pa.array(values.astype(np.float32).ravel())
            columns[part] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    columns |= {
        "timestamp": pa.array((np.arange(n) / facts.fps).astype(np.float32)),
        "frame_index": pa.array(np.arange(n)),
        "episode_index": pa.array(np.full(n, number)),
        "index": pa.array(np.arange(frames, frames + n)),
        "task_index": pa.array(np.zeros(n, dtype=np.int64)),
        "next.reward": pa.array(episode.rewards),
        "next.done": pa.array(np.arange(n) == n - 1),
    }
    path = folder / _DATA.format(episode_chunk=number // CHUNK, episode_index=number)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _statistics(episode: Episode) -> dict[str, Any]:
    """Minimum, maximum, mean and standard deviation of each number; of pictures per colour, as shares of 255."""
    found: dict[str, Any] = {}
    for name, values in {
        **{_key(k): v for k, v in episode.observations.items()},
        "action": episode.actions,
    }.items():
        pictures = values.ndim == 4
        numbers = values.reshape(-1, values.shape[-1]) / 255 if pictures else values.astype(np.float64)
        found[name] = {
            what: (row[:, None, None] if pictures else row).tolist()
            for what, row in (
                ("min", numbers.min(axis=0)),
                ("max", numbers.max(axis=0)),
                ("mean", numbers.mean(axis=0)),
                ("std", numbers.std(axis=0)),
            )
        }
        found[name]["count"] = [episode.steps]
    return found


def _info(rows: list[dict[str, Any]], facts: Facts) -> dict[str, Any]:
    features: dict[str, Any] = {}
    for part, shape in facts.parts.items():
        if len(shape) == 3:
            height, width, channels = shape
            features[_key(part)] = {
                "dtype": "video",
                "shape": list(shape),
                "names": ["height", "width", "channel"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.channels": channels,
                    "video.codec": "h264",
                    "video.pix_fmt": "yuv420p",
                    "video.fps": facts.fps,
                    "video.is_depth_map": False,
                    "has_audio": False,
                },
            }
        else:
            features[_key(part)] = {"dtype": "float32", "shape": list(shape), "names": None}
    features["action"] = {"dtype": "float32", "shape": [facts.actions], "names": None}
    features["next.reward"] = {"dtype": "float32", "shape": [1], "names": None}
    features["next.done"] = {"dtype": "bool", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    films = sum(len(shape) == 3 for shape in facts.parts.values())
    return {
        "codebase_version": "v2.1",
        "robot_type": facts.name,
        "total_episodes": len(rows),
        "total_frames": sum(row["length"] for row in rows),
        "total_tasks": 1,
        "total_videos": films * len(rows),
        "total_chunks": -(-len(rows) // CHUNK),
        "chunks_size": CHUNK,
        "fps": round(facts.fps),
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": _DATA,
        "video_path": _VIDEO if films else None,
        "features": features,
    }

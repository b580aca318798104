"""Frames of demonstrations as samples: the numbers of all episodes in one table, pictures decoded when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8

from anyjepa.bundle import Bundle
from anyjepa.data.base import Source
from anyjepa.data.broken import Broken
from anyjepa.data.episodes import AbsentError, Episode, Found, PictureMemory, resized
from anyjepa.data.episodes_config import RESERVED, STATE, TASK, EpisodesConfig
from anyjepa.data.episodes_hdf5 import found_hdf5
from anyjepa.data.episodes_lerobot import INFO, found_lerobot
from anyjepa.data.episodes_npz import found_npz, natural
from anyjepa.data.episodes_zarr import found_zarr
from anyjepa.errors import DataError

SHORTEST = 2
"""Frames below which there is nothing to learn from an episode."""
SIDE = 128
"""Pixels that the shorter side of a picture is shrunk to where nothing else is asked for."""
OPENS = (
    "a LeRobot folder (meta/info.json), .hdf5 of robomimic, ALOHA or Minari, .zarr of diffusion policy, or .npz with keys "
    "NN/observations and NN/actions; a folder of these files"
)
H5 = (".hdf5", ".h5")


@dataclass(frozen=True)
class Moments:
    """Frames of one episode that are asked for together.

    Attributes:
        index: (B, n) rows of the table, never beyond the end of the episode: the last frame is repeated there.
        beyond: (B, n) True where it would be beyond.
    """

    index: Int[np.ndarray, "B n"]
    beyond: Bool[np.ndarray, "B n"]


class EpisodeSource(Source):
    """All frames of some episodes, in order.

    Args:
        episodes: the demonstrations.
        broken: those that were left out.
        config: how they are read.
        labels: whether frames have labels.
        where: what they are called in errors.
        absent: names of episodes that the data speak of and do not have.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        broken: Sequence[Broken],
        config: EpisodesConfig,
        *,
        labels: bool = False,
        where: str = "the demonstrations",
        absent: Sequence[str] = (),
    ) -> None:
        self.absent = tuple(absent)
        self.episodes, self.broken, self.config, self.where = tuple(episodes), tuple(broken), config, where
        lengths = np.array([len(episode) for episode in episodes], dtype=np.int64)
        self.ends = np.cumsum(lengths)
        self.state = np.concatenate([episode.state for episode in episodes])
        self.action = np.concatenate([episode.action for episode in episodes])
        self.of = np.repeat(np.arange(len(lengths)), lengths)
        self.time = np.arange(len(self.of)) - (self.ends - lengths)[self.of]
        self.rows = np.arange(len(self.of))
        if config.limit is not None and config.limit < len(self.rows):
            self.rows = np.arange(config.limit, dtype=np.int64) * len(self.rows) // config.limit
        self.channels = self.state.shape[1]
        self.groups = self.of[self.rows]
        self.group_names = tuple(episode.name for episode in episodes)
        self.task_names = tuple(sorted({episode.task for episode in episodes}))
        numbers = {name: i for i, name in enumerate(self.task_names)}
        tasks = np.array([numbers[episode.task] for episode in episodes], dtype=np.int64)
        self._tasks = tasks[self.of]
        if labels and config.label == "progress":
            self.labels = (self.time / np.maximum(lengths[self.of] - 1, 1))[self.rows]
        elif labels:
            self.labels, self.class_names = self._tasks[self.rows], self.task_names
        self._memory = PictureMemory(config.cache_mb << 20)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, the same in every episode."""
        return tuple(self.episodes[0].cameras)

    def identity(self, i: int) -> str:
        row = self.rows[i]
        return f"{self.episodes[self.of[row]].name}, frame {self.time[row]}"

    def moments(self, index: Int[np.ndarray, "B"], length: int) -> Moments:
        """The ``length`` frames from each of some frames on."""
        first = self.rows[index]
        wanted = first[:, None] + np.arange(length)
        last = self.ends[self.of[first]][:, None] - 1
        return Moments(np.minimum(wanted, last), wanted > last)

    def task(self, index: Int[np.ndarray, "B"], names: Sequence[str]) -> Int[np.ndarray, "B"]:
        """Number of the task of some frames in a list of tasks.

        Raises:
            DataError: a task is not in it.
        """
        unknown = sorted(set(self.task_names) - set(names))
        if unknown:
            raise DataError(
                f"{self.where} has the task '{unknown[0]}', the model knows {', '.join(map(repr, names))}"
            )
        return np.array([names.index(name) for name in self.task_names])[self._tasks[self.rows[index]]]

    def pictures(self, i: int, camera: str, size: tuple[int, int]) -> UInt8[np.ndarray, "3 h w"]:
        """What a camera saw in frame ``i``.

        Raises:
            DataError: it cannot be decoded, or there is no such camera.
        """
        row = self.rows[i]
        number = int(self.of[row])
        episode = self.episodes[number]
        if camera not in episode.cameras:
            raise DataError(
                f"{episode.name} has no camera '{camera}': it has {', '.join(episode.cameras) or 'none'}"
            )

        def make() -> np.ndarray:
            frames = episode.cameras[camera]
            try:
                parts = [resized(block, size) for block in frames.blocks()]
            except DataError as error:
                raise DataError(f"{episode.name}: {error}") from error
            if sum(map(len, parts)) < len(episode):
                raise DataError(
                    f"{episode.name}: camera {camera} has {sum(map(len, parts))} pictures for {len(episode)} frames"
                )
            return np.concatenate(parts)

        return self._memory.get((number, camera, size), make)[self.time[row]]

    def read(self, i: int) -> Bundle:
        """One observation, (1, ...) each: the state, the number of the task, and pictures as 0..1; scaled by the config."""
        config = self.config
        rows = np.array([i])
        parts = {
            STATE: torch.from_numpy(config.scaled("state", self.state[self.rows[rows]])),
            TASK: torch.from_numpy(self.task(rows, config.tasks or self.task_names)).float()[:, None],
        }
        size = config.size or picture_size(self)
        for camera in self.cameras if config.cameras is None else config.cameras:
            parts[camera] = torch.from_numpy(self.pictures(i, camera, size)).float()[None] / 255
        return Bundle(parts)

    def settled(self, config: EpisodesConfig) -> EpisodeSource:
        """The same frames, read by another config."""
        import copy

        other = copy.copy(self)
        other.config = config
        return other


def picture_size(source: EpisodeSource) -> tuple[int, int]:
    """Height and width of the first camera, the shorter side at most SIDE pixels."""
    if not source.cameras:
        return (SIDE, SIDE)
    height, width = source.episodes[0].cameras[source.cameras[0]].size()
    shrink = min(1.0, SIDE / min(height, width))
    return round(height * shrink), round(width * shrink)


def open_episodes(
    path: str | Path,
    config: EpisodesConfig,
    *,
    labels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EpisodeSource:
    """The demonstrations behind a path.

    Args:
        path: see OPENS.
        config: how they are read.
        labels: read labels too.
        progress: told of the episodes that are done.

    Raises:
        DataError: nothing is there, it cannot be read, or too many episodes are unusable.
        MissingExtraError: the reader is not installed.
    """
    place = Path(path).expanduser()
    found = list(_found(place, config))[config.window(0)]
    if not found:
        raise DataError(f"{path}: episodes.episodes='{config.episodes}' leaves no episode")
    good: list[Episode] = []
    broken: list[Broken] = []
    absent: list[str] = []
    for n, one in enumerate(found):
        try:
            good.append(_checked(one, config, good[0] if good else None))
        except AbsentError:
            absent.append(one.name)
        except DataError as error:
            told = str(error)
            broken.append(Broken(one.name, told if one.name in told else f"{one.name}: {told}"))
        if progress is not None:
            progress(n + 1, len(found))
    if len(absent) == len(found):
        raise DataError(f"{path} speaks of {len(found)} episodes and has none of them")
    if len(broken) > config.max_broken * (len(found) - len(absent)) or not good:
        lacks = sum("camera" in b.reason for b in broken)
        way = f"; {lacks} of them lack pictures: episodes.cameras=[] reads the numbers alone" if lacks else ""
        raise DataError(
            f"{len(broken)} of the {len(found) - len(absent)} episodes in {path} cannot be used, more than episodes.max_broken="
            f"{config.max_broken:.0%}; the first: {broken[0].reason}{way}"
        )
    return EpisodeSource(good, broken, config, labels=labels, where=str(path), absent=absent)


def _checked(found: Found, config: EpisodesConfig, first: Episode | None) -> Episode:
    """An episode that can be used beside the first one."""
    episode = found.load()
    name, state, action = episode.name, episode.state, episode.action
    if config.state_columns is not None:
        if max(config.state_columns) >= state.shape[1] or min(config.state_columns) < 0:
            raise DataError(
                f"{name}: the state has columns 0..{state.shape[1] - 1}, not {max(config.state_columns)}"
            )
        state = state[:, list(config.state_columns)]
    if len(state) != len(action):
        raise DataError(f"{name}: {len(state)} states and {len(action)} actions: they must be as many")
    if len(action) < SHORTEST:
        raise DataError(f"{name} has {len(action)} frame: an episode needs at least {SHORTEST}")
    for what, values in (("state", state), ("action", action)):
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise DataError(
                f"{name}: {len(wrong)} values of the {what} are not finite, the first in frame {row}, column {column}"
            )
    if config.fps is not None and episode.fps is not None and episode.fps != config.fps:
        raise DataError(f"{name} has {episode.fps:g} frames a second, episodes.fps={config.fps:g}")
    missing = [camera for camera in config.cameras or () if camera not in episode.cameras]
    if missing:
        raise DataError(
            f"{name} has no camera {', '.join(missing)}: it has {', '.join(episode.cameras) or 'none'}"
        )
    wanted = {
        name: frames
        for name, frames in episode.cameras.items()
        if config.cameras is None or name in config.cameras
    }
    if taken := sorted(RESERVED & set(wanted)):
        raise DataError(f"{name}: a camera cannot be called {taken[0]}")
    if config.cameras is not None:
        wanted = {camera: wanted[camera] for camera in config.cameras}
    if first is not None:
        here = (state.shape[1], action.shape[1], tuple(wanted), episode.fps)
        there = (first.state.shape[1], first.action.shape[1], tuple(first.cameras), first.fps)
        for what, mine, other in zip(
            ("values in the state", "values in the action", "camera", "fps"), here, there, strict=True
        ):
            if mine != other:
                raise DataError(f"{name}: {mine} ({what}), the first episode {first.name} has {other}")
    return replace(episode, state=state, cameras=wanted)


def _found(place: Path, config: EpisodesConfig) -> Any:
    name = place.name.lower()
    if place.is_dir():
        if (place / INFO).is_file():
            return found_lerobot(place, config.state, config.cameras)
        if (place / "meta/episode_ends").is_dir() or name.endswith(".zarr"):
            return found_zarr(place, config.state)
        if (place / "data/main_data.hdf5").is_file():
            return found_hdf5([place / "data/main_data.hdf5"], config.state)
        files = sorted(
            (Path(folder) / file for folder, _, files in os.walk(place) for file in files),
            key=lambda file: natural(str(file)),
        )
        for endings, read in ((H5, found_hdf5), ((".npz",), found_npz)):
            chosen = [file for file in files if file.suffix.lower() in endings]
            if chosen:
                return read(chosen, config.state)
        stores = sorted(place.glob("*.zarr"))
        if len(stores) == 1:
            return found_zarr(stores[0], config.state)
        raise DataError(f"the folder {place} holds no demonstrations; expected {OPENS}")
    if not place.exists():
        raise DataError(f"{place} does not exist; expected {OPENS}")
    if place.suffix.lower() in H5:
        return found_hdf5([place], config.state)
    if place.suffix.lower() == ".npz":
        return found_npz([place], config.state)
    if name.endswith((".zarr.zip", ".zarr")):
        return found_zarr(place, config.state)
    raise DataError(f"{place} holds no demonstrations that can be read; expected {OPENS}")

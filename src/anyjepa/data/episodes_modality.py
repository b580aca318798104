"""Demonstrations of robots as a kind of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Bundle, Shape, described
from anyjepa.contract import Method
from anyjepa.data.base import Source
from anyjepa.data.broken import Broken
from anyjepa.data.episodes_config import STATE, TASK, EpisodesConfig
from anyjepa.data.episodes_dataset import EpisodesDataset
from anyjepa.data.episodes_source import H5, OPENS, EpisodeSource, open_episodes, picture_size
from anyjepa.data.modality import Modality, Progress
from anyjepa.errors import ConfigError, DataError

FLAT = 1e-6
"""Spread, relative to the largest value, below which a column stands still: its scale is 1."""
LARGE = 10.0
"""Values beyond which data that are not scaled are probably not meant to be left so."""
SIDE = 8
"""Pixels of a side that pictures have as features without learning."""


@dataclass(frozen=True)
class EpisodesReport:
    """What there is.

    Attributes:
        looked_at: episodes, those left out among them.
        broken: those that were left out.
        text: what there is, in words.
        warnings: what looks wrong.
    """

    looked_at: int
    broken: tuple[Broken, ...]
    text: str
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([self.text, *(f"warning: {told}" for told in self.warnings)])


class Episodes(Modality):
    """Demonstrations: states, actions, perhaps cameras and tasks. A sample is a frame."""

    name = "episodes"
    noun = "frames"
    config = EpisodesConfig
    opens = OPENS
    endings = frozenset(H5)
    axes = "parts of an observation"
    unlearned = f"the state as it is scaled, and pictures shrunk to {SIDE} x {SIDE}"
    binding = ("states", "actions")
    inherited = ("state_shift", "state_scale", "action_shift", "action_scale", "tasks")

    def claims(self, place: Path) -> bool:
        """LeRobot's folders, whose films would else be taken for videos, and zarr stores."""
        return (place / "meta" / "info.json").is_file() or place.name.endswith((".zarr", ".zarr.zip"))

    def open(
        self,
        path: str | Path,
        config: EpisodesConfig,
        *,
        labels: bool = False,
        progress: Progress | None = None,
    ) -> EpisodeSource:
        return open_episodes(path, config, labels=labels, progress=progress)

    def inspect(self, source: Source, config: EpisodesConfig) -> EpisodesReport:
        frames = _frames(source)
        lengths = [len(episode) for episode in frames.episodes]
        state, action = frames.state, frames.action
        rate = frames.episodes[0].fps
        lines = [
            f"{len(frames)} frames of {len(lengths)} episodes ({min(lengths)} to {max(lengths)} frames"
            + (f", {rate:g} a second" if rate else "")
            + f"), {len(frames.task_names)} {'task' if len(frames.task_names) == 1 else 'tasks'}",
            f"state: {state.shape[1]} values in {state.min():.4g}..{state.max():.4g}; action: {action.shape[1]} values in "
            f"{action.min():.4g}..{action.max():.4g}; scaled: {config.scaling}",
        ]
        if frames.cameras:
            size = config.size or picture_size(frames)
            lines.append(f"cameras: {', '.join(frames.cameras)}, brought to {size[0]} x {size[1]}")
        if frames.absent:
            lines.append(
                f"{len(frames.absent)} more episodes are spoken of and are not there, the first {frames.absent[0]}"
            )
        if frames.broken:
            lines.append(
                f"{len(frames.broken)} of {len(lengths) + len(frames.broken)} episodes are left out; the first: "
                f"{frames.broken[0].reason}"
            )
        return EpisodesReport(
            len(lengths) + len(frames.broken), frames.broken, "\n".join(lines), tuple(_doubts(frames, config))
        )

    def shape(self, source: Source, config: EpisodesConfig, report: Any) -> Shape:
        frames = _frames(source)
        cameras = frames.cameras if config.cameras is None else config.cameras
        size = config.size or picture_size(frames)
        return {STATE: (frames.channels,), TASK: (1,), **{camera: (3, *size) for camera in cameras}}

    def settle(self, source: Source, config: EpisodesConfig) -> tuple[Source, EpisodesConfig]:
        """Scales, tasks, cameras and the size of pictures, from the training episodes unless they were chosen."""
        frames = _frames(source)
        for what, values in (("state", frames.state), ("action", frames.action)):
            shift, scale = _scales(values.astype(np.float64), config.scaling)
            for name, found in (("shift", shift), ("scale", scale)):
                field = f"{what}_{name}"
                given = getattr(config, field)
                if given is None:
                    settled: dict[str, Any] = {field: tuple(float(v) for v in found)}
                    config = replace(config, **settled)
                elif len(given) != values.shape[1]:
                    raise ConfigError(
                        f"episodes.{field} has {len(given)} values, the {what} has {values.shape[1]}"
                    )
        config = replace(
            config,
            tasks=config.tasks or frames.task_names,
            cameras=frames.cameras if config.cameras is None else config.cameras,
        )
        if config.cameras:
            config = replace(config, size=config.size or picture_size(frames))
        return frames.settled(config), config

    def place(self, model: Any, source: Source, config: EpisodesConfig) -> Any:
        """The size of actions and the lengths of the sequences; more rows for tasks where the model has too few."""
        frames = _frames(source)
        for name, found in (
            ("action_size", frames.action.shape[1]),
            ("chunk", config.actions),
            ("horizon", config.states),
        ):
            if not hasattr(model, name):
                continue
            if getattr(model, name) not in (None, found):
                raise ConfigError(
                    f"model.{name}={getattr(model, name)}, but the data have {found}: leave it out"
                )
            model = replace(model, **{name: found})
        tasks = len(config.tasks or frames.task_names)
        return replace(model, tasks=tasks) if getattr(model, "tasks", tasks) < tasks else model

    def suit(self, config: EpisodesConfig, shape: Any) -> EpisodesConfig:
        if not isinstance(shape, dict) or STATE not in shape:
            raise ConfigError(
                f"the method takes samples of shape {described(shape)}, not observations with a state"
            )
        cameras = tuple(name for name, part in shape.items() if len(part) == 3)
        if config.cameras is not None and tuple(config.cameras) != cameras:
            raise ConfigError(
                f"episodes.cameras={list(config.cameras)}, the model takes {list(cameras)}: leave it out"
            )
        sizes = {tuple(shape[name][1:]) for name in cameras}
        if len(sizes) > 1:
            raise ConfigError(f"all cameras must be of one size, the model takes {sorted(sizes)}")
        config = replace(config, cameras=cameras)
        return replace(config, size=sizes.pop()) if sizes else config

    def dataset(self, source: Source, config: EpisodesConfig) -> EpisodesDataset:
        return EpisodesDataset(_frames(source), config)

    def meets(self, source: Source, shape: Any) -> None:
        if not isinstance(shape, dict) or (source.channels,) != tuple(shape[STATE]):
            raise ConfigError(
                f"the weights take {described(shape)}, the state of the data has {source.channels} values"
            )

    def seen(self, config: EpisodesConfig) -> Any:
        return replace(config, limit=None, label="task", cache_mb=1, max_broken=0.0)

    def raw(self, method: Method) -> Callable[[Any], Float[Tensor, "B F"]]:
        cameras = [name for name, part in method.input_shape().items() if len(part) == 3]

        def read(samples: Bundle) -> Float[Tensor, "B F"]:
            small = [F.adaptive_avg_pool2d(samples[camera], SIDE).flatten(1) for camera in cameras]
            return torch.cat([samples[STATE], *small], dim=1)

        return read


def _scales(values: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """What is taken off each column, and what divides it then."""
    if scaling == "none":
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    if scaling == "standard":
        shift, scale = values.mean(axis=0), values.std(axis=0)
    else:
        low, high = values.min(axis=0), values.max(axis=0)
        shift, scale = (high + low) / 2, (high - low) / 2
    still = scale <= FLAT * np.maximum(np.abs(values).max(axis=0), FLAT)
    return shift, np.where(still, 1.0, scale)


def _doubts(frames: EpisodeSource, config: EpisodesConfig) -> list[str]:
    told = []
    longest = max(config.states, config.actions)
    short = [episode.name for episode in frames.episodes if len(episode) < longest]
    if short:
        told.append(
            f"{len(short)} episodes are shorter than a chunk of {longest} frames, the first {short[0]}: what is beyond their end "
            "does not count"
        )
    for what, values in (("state", frames.state), ("action", frames.action)):
        still = np.flatnonzero(np.ptp(values, axis=0) == 0)
        if len(still):
            told.append(
                f"columns of the {what} that never change: {', '.join(map(str, still[:16].tolist()))}"
            )
        if config.scaling == "none" and np.abs(values).max() > LARGE:
            told.append(
                f"the {what} reaches {np.abs(values).max():.4g} and is not scaled: is episodes.scaling=none meant?"
            )
    return told


def _frames(source: Source) -> EpisodeSource:
    if not isinstance(source, EpisodeSource):
        raise DataError(
            f"expected frames of episodes, got {type(source).__name__}: see anyjepa.data.episodes_source"
        )
    return source

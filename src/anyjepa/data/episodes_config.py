"""How demonstrations are read: which parts are observed, how long the sequences are, how numbers are scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

import numpy as np

from anyjepa.errors import ConfigError, nearest

STATE, ACTION, TASK = "state", "action", "task"
"""Names of the parts of a sample that are no camera."""
PADS = ("state_pad", "action_pad")
"""True where a sequence reaches beyond the end of its episode."""
RESERVED = frozenset({STATE, ACTION, TASK, *PADS})


@dataclass(frozen=True)
class EpisodesConfig:
    """How demonstrations are read. Defaults: ACT-JEPA (arXiv 2501.14622). Scales, tasks, cameras and the size of pictures are
    those of the training episodes."""

    states: int = 30
    """States of a target sequence, the present one first (paper)."""
    actions: int = 30
    """Actions of a chunk (paper)."""
    state: tuple[str, ...] | None = None
    """Keys of the arrays that are the state, one after the other; None: the usual names (observation.state, qpos, observations,
    ...; of robomimic all arrays of numbers but `object`, of Minari all)."""
    state_columns: tuple[int, ...] | None = None
    """Columns of the state to use, e.g. [0, 1] for the agent alone; None: all."""
    cameras: tuple[str, ...] | None = None
    """Cameras to use; None: all; []: none, proprioception alone."""
    size: tuple[int, int] | None = None
    """Height and width that pictures are brought to; None: as stored, the shorter side shrunk to 128 pixels."""
    scaling: Literal["standard", "minmax", "none"] = "standard"
    """State and action to mean 0 and spread 1 (paper, Push-T), to -1..1, or as they are (paper, Meta-World and ManiSkill)."""
    state_shift: tuple[float, ...] | None = None
    """Taken off each column of the state; None: from the training episodes."""
    state_scale: tuple[float, ...] | None = None
    """Divides it then."""
    action_shift: tuple[float, ...] | None = None
    """Taken off each column of the action; None: from the training episodes."""
    action_scale: tuple[float, ...] | None = None
    """Divides it then."""
    tasks: tuple[str, ...] | None = None
    """Names of the tasks in the order of their numbers; None: those of the training episodes."""
    episodes: str | None = None
    """Which episodes, as a slice of their order: `:190`, `190:`, `::2`; None: all."""
    fps: float | None = None
    """Frames per second that all episodes must have; None: they must agree where they say it."""
    label: Literal["task", "progress"] = "task"
    """What the label of a frame is: its task, or the share of its episode that is past."""
    cache_mb: int = 2048
    """Memory for decoded pictures, in MiB: those used last are kept."""
    max_broken: float = 0.1
    """Largest share of the episodes that may be unusable (not finite, cut off, without a camera): they are left out and named."""
    limit: int | None = None
    """Use that many frames, evenly spread over all; None: all."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(EpisodesConfig).items():
            value, choices = getattr(self, name), get_args(hint)
            if choices and all(isinstance(c, str) for c in choices) and value not in choices:
                raise ConfigError(f"unknown episodes.{name} '{value}': {nearest(str(value), choices)}")
        for name in ("states", "actions", "limit", "cache_mb"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"episodes.{name} must be at least 1, got {value}")
        if not 0 <= self.max_broken <= 1:
            raise ConfigError(f"episodes.max_broken is a share in 0..1, got {self.max_broken}")
        taken = sorted(RESERVED & set(self.cameras or ()))
        if taken:
            raise ConfigError(
                f"a camera cannot be called {', '.join(taken)}: that is another part of a sample"
            )
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(f"episodes.size must be (height, width), got {self.size}")
        self.window(0)

    def window(self, count: int) -> slice:
        """The slice of ``count`` episodes to use; raises ConfigError when it is none."""
        if self.episodes is None:
            return slice(None)
        parts = self.episodes.split(":")
        try:
            numbers = [int(part) if part.strip() else None for part in parts]
        except ValueError:
            numbers = []
        if len(numbers) not in (2, 3) or (len(numbers) == 3 and numbers[2] == 0):
            raise ConfigError(
                f"episodes.episodes must be a slice such as ':190' or '190:', got '{self.episodes}'"
            )
        return slice(*numbers)

    def scaled(self, what: Literal["state", "action"], values: np.ndarray) -> np.ndarray:
        """Values in the units of the data as a model sees them, float32."""
        shift, scale = self._constants(what)
        return ((np.asarray(values, dtype=np.float64) - shift) / scale).astype(np.float32)

    def unscaled(self, what: Literal["state", "action"], values: np.ndarray) -> np.ndarray:
        """Back to the units of the data, float32."""
        shift, scale = self._constants(what)
        return (np.asarray(values, dtype=np.float64) * scale + shift).astype(np.float32)

    def _constants(self, what: str) -> tuple[np.ndarray, np.ndarray]:
        shift, scale = getattr(self, f"{what}_shift"), getattr(self, f"{what}_scale")
        if shift is None or scale is None:
            raise ConfigError(f"episodes.{what}_shift and episodes.{what}_scale are not settled: train first")
        return np.array(shift), np.array(scale)

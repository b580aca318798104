"""What a rollout needs of a simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

Observation = Mapping[str, np.ndarray]
"""Arrays by name: ``"state"`` (S,) floats, ``"image"`` (H, W, 3) uint8."""


@dataclass(frozen=True)
class Facts:
    """What is known of a simulator before it runs.

    Attributes:
        name: by which it is asked for.
        about: the task in one line, with what counts as success.
        parts: shape of each part of an observation.
        low, high: bounds of each part of an action, in its units.
        steps: longest episode.
        fps: actions per second of its own time, and pictures of its videos.
        judged: whether it says what success is.
        units: of the actions, in words.
    """

    name: str
    about: str
    parts: Mapping[str, tuple[int, ...]]
    low: tuple[float, ...]
    high: tuple[float, ...]
    steps: int
    fps: float
    judged: bool
    units: str = ""

    @property
    def actions(self) -> int:
        """Size A of an action."""
        return len(self.low)


@dataclass(frozen=True, eq=False)
class Step:
    """What came of an action.

    Attributes:
        observation: of the moment after it.
        reward: of the simulator.
        ended: the simulator ended the episode, by success or by failure.
        success: the task is done at this moment; always False where ``Facts.judged`` is False.
        measure: how near the task is, where the simulator tells (coverage of the goal by the T, ...).
    """

    observation: Observation
    reward: float
    ended: bool
    success: bool
    measure: float | None = None


@runtime_checkable
class World(Protocol):
    """One simulator, one episode at a time."""

    @property
    def facts(self) -> Facts:
        """What is known of it before it runs."""
        ...

    def reset(self, seed: int) -> Observation:
        """Begin the episode that ``seed`` names: the same seed, the same start."""
        ...

    def step(self, action: Float[np.ndarray, "A"]) -> Step:
        """Act once; the action lies within the bounds."""
        ...

    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        """What a spectator sees now."""
        ...

    def expert(self, seed: int) -> Any | None:
        """A scripted policy that may look into this very simulator; None: there is none."""
        ...

    def close(self) -> None:
        """Let go of windows and memory."""
        ...

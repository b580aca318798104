"""How chunks of actions become one action after the other: carried out one by one, or averaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

import numpy as np
from jaxtyping import Float

DECAY = 0.01
"""How much less a younger prediction counts, per step (ACT, arXiv 2304.13705)."""


class Execution(ABC):
    """What one episode does with the chunks that are predicted for it."""

    @property
    @abstractmethod
    def wants(self) -> bool:
        """Whether a new chunk must be predicted before the next action."""

    @abstractmethod
    def add(self, chunk: Float[np.ndarray, "n A"]) -> None:
        """A chunk that begins now."""

    @abstractmethod
    def next(self) -> Float[np.ndarray, "A"]:
        """The action of now; time goes on by one."""


class OpenLoop(Execution):
    """The first ``horizon`` actions of a chunk, one by one, without looking; then a new chunk.

    Args:
        horizon: at most the length of a chunk.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self._queue: deque[np.ndarray] = deque()

    @property
    def wants(self) -> bool:
        return not self._queue

    def add(self, chunk: Float[np.ndarray, "n A"]) -> None:
        self._queue = deque(chunk[: self.horizon])

    def next(self) -> Float[np.ndarray, "A"]:
        return self._queue.popleft()


class Ensemble(Execution):
    """A chunk at every step; the action is the mean of what all chunks say of now, the i-th oldest with weight exp(-decay i).

    Args:
        horizon: how much of a chunk counts.
        decay: 0 is the plain mean.
    """

    def __init__(self, horizon: int, decay: float = DECAY) -> None:
        self.horizon, self.decay = horizon, decay
        self._chunks: deque[deque[np.ndarray]] = deque()

    @property
    def wants(self) -> bool:
        return True

    def add(self, chunk: Float[np.ndarray, "n A"]) -> None:
        self._chunks.append(deque(chunk[: self.horizon]))

    def next(self) -> Float[np.ndarray, "A"]:
        said = np.stack([chunk.popleft() for chunk in self._chunks])
        self._chunks = deque(chunk for chunk in self._chunks if chunk)
        weights = np.exp(-self.decay * np.arange(len(said)))
        return (weights / weights.sum()) @ said

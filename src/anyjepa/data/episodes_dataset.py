"""Frames of demonstrations as training and evaluation batches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from anyjepa.bundle import Bundle, Shape, join
from anyjepa.data.dataset import Dataset, Indices
from anyjepa.data.episodes_config import ACTION, PADS, STATE, TASK, EpisodesConfig
from anyjepa.data.episodes_source import EpisodeSource, picture_size
from anyjepa.errors import DataError


class EpisodesDataset(Dataset):
    """Frames with what follows them. Nothing is drawn: a frame is always the same.

    A training sample has the parts ``state`` (T, S), ``state_pad`` (T,), ``action`` (n, A), ``action_pad`` (n,), ``task`` (1,)
    and a picture (3, h, w) of each camera. Beyond the end of an episode its last values are repeated, and the pads are 1. What
    evaluation sees is the present alone: ``state`` (S,), ``task`` (1,) and the pictures.
    """

    noun: ClassVar[str] = "frames"
    source: EpisodeSource

    def __init__(self, source: EpisodeSource, config: EpisodesConfig) -> None:
        # A model that was trained on some tasks cannot be asked for others.
        source.task(np.zeros(0, np.int64), config.tasks or source.task_names)
        super().__init__(source.settled(config), config)
        self.state = config.scaled("state", self.source.state)
        self.action = config.scaled("action", self.source.action)
        self.cameras = self.source.cameras if config.cameras is None else config.cameras
        self.size = config.size or picture_size(source)

    @property
    def shape(self) -> Shape:
        pictures = {camera: (3, *self.size) for camera in self.cameras}
        return {STATE: (self.state.shape[1],), TASK: (1,), **pictures}

    def draw(self, step: int, indices: Indices, seed: int) -> Bundle:
        """Training batch. Row b depends on indices[b] only."""
        return self.sequences(indices)

    def varied(self, step: int, indices: Indices, seed: int) -> Bundle:
        return self.evaluation(indices)

    def sequences(self, indices: Indices) -> Bundle:
        """Frames, and what follows each. Where a picture cannot be read, the next readable frame takes the frame's place.

        Raises:
            DataError: more than ``max_broken`` of all frames cannot be read.
        """
        index = np.asarray(indices, dtype=np.int64)
        pictures: dict[str, Tensor] = {}
        if self.cameras:
            read = [self.read(i) for i in index.tolist()]
            index = np.array([j for _, j in read], dtype=np.int64)
            pictures = {camera: torch.cat([sample[camera] for sample, _ in read]) for camera in self.cameras}
        parts = self._present(index)
        for name, pad, values, length in (
            (STATE, PADS[0], self.state, self.config.states),
            (ACTION, PADS[1], self.action, self.config.actions),
        ):
            moments = self.source.moments(index, length)
            parts[name] = torch.from_numpy(values[moments.index])
            parts[pad] = torch.from_numpy(moments.beyond.astype(np.float32))
        return Bundle(parts | pictures)

    def evaluation(self, indices: Indices) -> Bundle:
        if self.cameras:
            return super().evaluation(indices)
        return Bundle(self._present(np.asarray(indices, dtype=np.int64)))

    def finish(self, samples: list[Bundle]) -> Bundle:
        joined = join(samples)
        if not isinstance(joined, Bundle):
            raise DataError("observations are bundles")
        return joined

    def _present(self, index: np.ndarray) -> dict[str, Tensor]:
        task = self.source.task(index, self.config.tasks or self.source.task_names)
        return {
            STATE: torch.from_numpy(self.state[self.source.rows[index]]),
            TASK: torch.from_numpy(task).float()[:, None],
        }

"""Windows of EEG as training and evaluation batches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.data.dataset import Dataset, Indices
from anyjepa.data.eeg import EEGWindows
from anyjepa.data.eeg_config import EEGConfig
from anyjepa.randomness import uniform


class EEGDataset(Dataset):
    """Windows of EEG in microvolts. Everything random is a pure function of (seed, step, index).

    Args:
        source: the windows.
        config: how far their starts move in training.
    """

    noun: ClassVar[str] = "windows"
    source: EEGWindows

    def __init__(self, source: EEGWindows, config: EEGConfig | None = None) -> None:
        config = config or EEGConfig()
        super().__init__(source, config)
        # Windows of an event belong to it.
        most = 0 if source.labels is not None else round(config.jitter * source.rate)
        self._late = np.minimum(source.room, most)

    @property
    def shape(self) -> tuple[int, int]:
        """(C, T) of one window."""
        return self.source.shape

    def draw(self, step: int, indices: Indices, seed: int) -> Float[Tensor, "B C T"]:
        """Training batch: windows as they are, or up to ``config.jitter`` later. Row b depends on seed, step, indices[b] only."""
        index = np.asarray(indices, dtype=np.int64)
        if not self._late.any():
            return self.source.batch(index)
        drawn = uniform(seed, "eeg/jitter", step, index, 1)[:, 0]
        return self.source.batch(index, (drawn * (self._late[index] + 1)).astype(np.int64))

    def finish(self, samples: list[Tensor]) -> Float[Tensor, "B C T"]:
        """Evaluation batch: windows as they were read."""
        return torch.stack(samples)

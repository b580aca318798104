"""ECG recordings as training and evaluation batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.data.dataset import Dataset, Indices
from anyjepa.data.ecg import EcgConfig, EcgRecords, open_ecg
from anyjepa.data.ecg_segments import EcgSegments
from anyjepa.randomness import uniform


class EcgDataset(Dataset):
    """Batches of segments. Everything random is a pure function of (seed, step, index).

    Args:
        source: the segments.
        config: how they were read.
    """

    noun = "stretches of recordings"
    source: EcgSegments
    config: EcgConfig

    def __init__(self, source: EcgSegments, config: EcgConfig) -> None:
        super().__init__(source, config)

    @classmethod
    def of(cls, records: EcgRecords | Sequence[EcgRecords], config: EcgConfig | None = None) -> EcgDataset:
        """The data set of recordings that are open already.

        Args:
            records: one list of recordings, or several of the same leads and rate.
            config: length of the crops and size of the memory; None: that of the recordings.
        """
        config = config or (records if isinstance(records, EcgRecords) else records[0]).config
        return cls(EcgSegments(records, config), config)

    @property
    def shape(self) -> tuple[int, int]:
        """(C, T) of one sample."""
        return (len(self.source.leads), self.source.samples)

    def draw(self, step: int, indices: Indices, seed: int) -> Float[Tensor, "B C T"]:
        """Training batch: a random crop of each segment. Row b depends on seed, step, indices[b] only."""
        index = np.asarray(indices, dtype=np.int64)
        place = uniform(seed, "ecg/crop", step, index, 1)[:, 0]
        return self._crops([self.read(i)[0] for i in index.tolist()], place)

    def finish(self, samples: list[Tensor]) -> Float[Tensor, "B C T"]:
        """The middle of each segment; nothing random."""
        return self._crops(samples, np.full(len(samples), 0.5))

    def _crops(self, samples: list[Tensor], place: np.ndarray) -> Tensor:
        batch = torch.empty(len(samples), *self.shape)
        for row, x, u in zip(batch, samples, place.tolist(), strict=True):
            # Starts 0 .. free are equally likely; the middle one is free / 2.
            start = int(u * (x.shape[1] - self.source.samples + 1))
            row.copy_(x[:, start : start + self.source.samples])
        return batch


def open_ecg_dataset(paths: str | Path | Sequence[str | Path], config: EcgConfig | None = None) -> EcgDataset:
    """Recordings of one place or several, each scaled by its own mean and standard deviation, as training samples.

    Recordings shorter than a crop are left out. Leads that a place does not have at all are zero.

    Args:
        paths: see :func:`~anyjepa.data.ecg.open_ecg`.
        config: how to read them. With ``std`` set that scale is used everywhere.

    Raises:
        DataError: a place holds nothing that can be used.
    """
    config = config or EcgConfig()
    places = [paths] if isinstance(paths, str | Path) else list(paths)
    records = [open_ecg(place, config.at_least_one_crop()) for place in places]
    if config.scaled and config.std is None:
        records = [each.normalised(absent="zero") for each in records]
    return EcgDataset.of(records, config)

"""Brain scans as training and evaluation batches: scaled once, kept in memory, cut into clips at random or in the middle."""

from __future__ import annotations

import copy

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.data.base import Source
from anyjepa.data.dataset import Dataset, Indices
from anyjepa.data.fmri import FmriSource
from anyjepa.data.fmri_config import FmriConfig
from anyjepa.data.roi_scaling import RoiScaling, clip_frames, take_clip
from anyjepa.errors import ConfigError, DataError
from anyjepa.randomness import uniform

HELD = 2**30
"""Bytes of scaled scans that one process keeps; scans beyond that are read whenever they are asked for."""


class ScaledScans(Source):
    """Scans at the scale of a config, each read once, with the clock they were measured by.

    A sample is (R + 1, T): the series of the regions, and below them the time of each frame in frames of a clip. So a scan can be
    cut to clips of another frame rate without asking where it came from.

    Args:
        source: the scans.
        column: column of their table that is the label; None: no labels.
    """

    channels = 1

    def __init__(self, source: FmriSource, column: str | None = None) -> None:
        if column is not None:
            source = source.subset(source.known(column))
            self.labels, self.class_names = source.labels(column)
        self.scans = source
        whose = source.subjects if source.config.group_by == "subject" else source.sites
        if None in whose:
            raise DataError("group_by=site needs the site of every scan: some are unknown")
        names, self.groups = np.unique(np.asarray(whose, dtype=str), return_inverse=True)
        self.group_names = tuple(names.tolist())
        self._held: dict[int, Tensor] = {}
        self._free = HELD

    def scaled(self, scaling: RoiScaling) -> ScaledScans:
        """The same scans and labels under another scaling."""
        other = copy.copy(self)
        other.scans, other._held, other._free = self.scans.with_scaling(scaling), {}, HELD
        return other

    def __len__(self) -> int:
        return len(self.scans)

    def identity(self, i: int) -> str:
        """Name of scan ``i``."""
        return self.scans.identity(i)

    def read(self, i: int) -> Float[Tensor, "S T"]:
        """Scan ``i``, scaled, and its clock; raises DataError when it cannot be read any more."""
        found = self._held.get(i)
        if found is None:
            values = self.scans.config.scaling.apply(self.scans.read(i))
            # In 64 bits: from a clock in 32 the number of frames of a clip would come out one too small at times.
            clock = np.arange(values.shape[1]) / self.scans.ratio(i)
            found = torch.from_numpy(np.concatenate([values, clock[None]]))
            if found.nbytes <= self._free:
                self._held[i], self._free = found, self._free - found.nbytes
        return found

    def __getstate__(self) -> dict[str, object]:
        # A loader process fills its own memory; sending it the whole of ours would only make it start late.
        return {**self.__dict__, "_held": {}, "_free": HELD}


class FmriDataset(Dataset):
    """Clips (1, R, n) of scans; everything random about one is a function of (seed, step, index).

    Args:
        source: the scans.
        config: scaling, frame rate and length of the clips; None: as the source was opened.

    Raises:
        ConfigError: a scan is shorter than a clip: it would have to be padded, and a batch cannot say which frames exist.
    """

    noun = "scans"
    config: FmriConfig
    source: ScaledScans

    def __init__(self, source: FmriSource | ScaledScans, config: FmriConfig | None = None) -> None:
        source = ScaledScans(source) if isinstance(source, FmriSource) else source
        config = config or source.scans.config
        if config.scaling != source.scans.config.scaling:
            source = source.scaled(config.scaling)
        lengths = [
            clip_frames(source.scans.frames(i), source.scans.ratio(i), config.rate)
            for i in range(len(source))
        ]
        if short := sum(length < config.clip for length in lengths):
            raise ConfigError(
                f"{short} scans are shorter than a clip of {config.clip} frames, and batches are made of whole clips: use "
                f"frames={min(lengths)} or less, or short=drop"
            )
        super().__init__(source, config)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, R, n)."""
        return (1, self.source.scans.rois, self.config.clip)

    def draw(self, step: int, indices: Indices, seed: int) -> Float[Tensor, "B 1 R n"]:
        """Clips that begin anywhere in their scans."""
        index = np.asarray(indices, dtype=np.int64)
        starts = uniform(seed, "fmri/clip", step, index, 1)[:, 0]
        return self._cut([self.read(i)[0] for i in index.tolist()], starts)

    def finish(self, samples: list[Tensor]) -> Float[Tensor, "B 1 R n"]:
        """The middle of each scan."""
        return self._cut(samples, np.full(len(samples), 0.5))

    def _cut(self, samples: list[Tensor], starts: np.ndarray) -> Tensor:
        out = np.empty((len(samples), *self.shape), dtype=np.float32)
        for row, sample, u in zip(out, samples, starts.tolist(), strict=True):
            values = sample.numpy()
            ratio = (values.shape[1] - 1) / float(values[-1, -1]) if values.shape[1] > 1 else 1.0
            row[0] = take_clip(
                values[:-1].astype(np.float32), ratio, self.config.clip, u, how=self.config.rate
            )[0]
        return torch.from_numpy(out)

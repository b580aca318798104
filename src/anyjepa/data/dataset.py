"""Samples of one source as training and evaluation batches, whatever the samples are."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyjepa.bundle import Inputs, Shape, join
from anyjepa.data.base import Source
from anyjepa.errors import DataError

log = logging.getLogger(__name__)

Indices = Sequence[int] | np.ndarray | Tensor

_HELD = 1 << 26
"""Bytes of samples as read that wait to be finished together: a batch of photographs is gigabytes."""


class Dataset(ABC):
    """Batches of one source. Everything random is a pure function of (seed, step, index).

    Samples that cannot be read are counted over all loader workers; in training the next readable one takes their place.

    Args:
        source: the samples.
        config: how they become batches; its ``max_broken`` is the largest share of them that may be unreadable.
    """

    noun: ClassVar[str] = "samples"
    """What the samples are, in the plural."""
    views: int = 1
    """Views of each sample in an evaluation batch, whose tokens follow each other; answers about them are averaged."""

    def __init__(self, source: Source, config: Any) -> None:
        self.source, self.config = source, config
        # One byte per sample, shared by all loader workers, so that broken ones are counted over all.
        self._broken = torch.zeros(len(source), dtype=torch.uint8).share_memory_()

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """(C, ...) of one sample as evaluation sees it, or that of each part of a bundle."""

    @abstractmethod
    def draw(self, step: int, indices: Indices, seed: int) -> Inputs:
        """Training batch. Row b depends on seed, step, indices[b] only."""

    def varied(self, step: int, indices: Indices, seed: int) -> Inputs:
        """Samples of :attr:`shape` for training with labels: those of :meth:`draw`, unless a method draws more than one view."""
        return self.draw(step, indices, seed)

    def cropped(self, scale: tuple[float, float]) -> Dataset:
        """The same, with training crops of this least and largest share of a sample where the kind of data has a choice of it."""
        return self

    @abstractmethod
    def finish(self, samples: list[Any]) -> Inputs:
        """Evaluation batch of samples as they were read; nothing random."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def broken(self) -> list[int]:
        """Indices of the samples that could not be read so far, in this process or any loader worker."""
        return self._broken.nonzero().flatten().tolist()

    def evaluation(self, indices: Indices) -> Inputs:
        """Samples as evaluation sees them. Broken ones are replaced."""
        return self.finish([self.read(i)[0] for i in np.asarray(indices, dtype=np.int64).tolist()])

    def read(self, i: int, **how: Any) -> tuple[Any, int]:
        """Sample ``i``, or the next readable in place of a broken one; and the index that was read.

        Args:
            i: index of the sample.
            how: what :meth:`attempt` of a kind of data asks for besides.

        Raises:
            DataError: more than ``max_broken`` of all samples cannot be read.
        """
        for j in (k % len(self) for k in range(i, i + len(self))):
            sample = self.attempt(j, "the next readable one takes its place", **how)
            if sample is not None:
                return sample, j
        raise DataError(f"none of the {len(self)} {self.noun} can be read")

    def attempt(self, i: int, instead: str = "it is left out") -> Any | None:
        """Sample ``i``, or None when it cannot be read, which is counted.

        Args:
            i: index of the sample.
            instead: what happens when it is broken, for the warning.

        Raises:
            DataError: more than ``max_broken`` of all samples cannot be read.
        """
        try:
            return self.source.read(i)
        except DataError as error:
            self._count_broken(i, error, instead)
            return None

    def _count_broken(self, i: int, error: DataError, instead: str) -> None:
        if self._broken[i]:
            return
        self._broken[i] = 1
        count = int(self._broken.sum(dtype=torch.int64))
        if count > self.config.max_broken * len(self):
            raise DataError(
                f"{count} of {len(self)} {self.noun} cannot be read, more than"
                f" max_broken={self.config.max_broken:.0%}. The latest: {error}"
            )
        log.warning("%s; %s", error, instead)


@dataclass(frozen=True)
class Loaded:
    """Some samples as evaluation sees them."""

    inputs: Inputs
    """What a method takes."""
    labels: Int[Tensor, "B"] | Float[Tensor, "B"] | None
    """Their classes or measured values; None when the source was opened without labels."""
    index: Int[Tensor, "B"]
    """Their indices in the source."""


def load_all(dataset: Dataset, indices: Indices | None = None, batch_size: int = 256) -> Iterator[Loaded]:
    """Evaluation samples in order, in batches: memory does not grow with the data.

    Broken samples are left out, since in their place another one would be counted twice; ``index`` tells which are there.

    Args:
        dataset: the data.
        indices: which samples; None: all.
        batch_size: samples per batch.
    """
    chosen = np.arange(len(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)
    for start in range(0, len(chosen), batch_size):
        rows: list[int] = []
        finished: list[Inputs] = []
        held: list[Any] = []
        weight = 0
        for i in chosen[start : start + batch_size].tolist():
            sample = dataset.attempt(i)
            if sample is None:
                continue
            rows.append(i)
            held.append(sample)
            weight += sample.nbytes
            if weight > _HELD:
                finished.append(dataset.finish(held))
                held, weight = [], 0
        if not rows:
            continue
        if held:
            finished.append(dataset.finish(held))
        index, labels = torch.tensor(rows), dataset.source.labels
        yield Loaded(
            join(finished),
            None if labels is None else torch.from_numpy(labels)[index],
            index,
        )

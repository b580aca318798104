"""Recordings of any length as samples of equal weight: a sample is a segment of a recording."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import get_worker_info

from anyjepa.data.base import Source
from anyjepa.data.ecg import EcgConfig, EcgRecords
from anyjepa.errors import ConfigError, DataError, nearest

MEGABYTE = 1 << 20


class EcgSegments(Source):
    """The segments of one or several lists of recordings, numbered through.

    A recording of T samples gives ``n = max(1, T // samples)`` segments, so that half an hour counts as 180 times ten seconds,
    and every stretch of ``samples`` is as likely as any other of its recording: the possible starts are shared out among the
    segments in n equal parts. A recording whose length is not known before it is read is one segment.

    Prepared recordings are kept in memory up to a limit, without their silent leads; loader workers share the limit.

    Args:
        parts: recordings of the same leads and rate, each list with a scale of its own.
        config: length of a segment, how often one recording counts at most, how many segments in all, the label that is told
            from its absence, and the memory.

    Attributes:
        channels: number of leads C.
        label_sets: (N, K) which labels the recording of each segment has; None when there are none.
        label_names: their K names.
        labels, class_names: one class for each segment, where every recording has exactly one label, or one was chosen.
        groups: (N,) number of the patient.
        folds: (N,) fold of the official split, -1 where there is none.
        rows: (N, 3) list, recording and place in it of each segment.
    """

    groups: Int[np.ndarray, "N"]

    def __init__(self, parts: EcgRecords | Sequence[EcgRecords], config: EcgConfig | None = None) -> None:
        self.parts = [parts] if isinstance(parts, EcgRecords) else list(parts)
        if not self.parts or len({(p.leads, p.rate) for p in self.parts}) > 1:
            raise ConfigError("expected at least one list of recordings, all of the same leads and rate")
        self.config = config or self.parts[0].config
        self.samples, self.leads, self.rate = self.config.samples, self.parts[0].leads, self.parts[0].rate
        self.channels = len(self.leads)
        self._kept: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray, int]] = OrderedDict()
        self._size = 0
        self._counts = [_segments(part, self.samples, self.config.most_of_one) for part in self.parts]
        every = np.concatenate([_rows(number, counts) for number, counts in enumerate(self._counts)])
        limit = min(self.config.limit or len(every), len(every))
        self.rows: Int[np.ndarray, "N 3"] = every[np.arange(limit) * len(every) // limit]
        self.groups, self.group_names = self._groups()
        self.folds = self._of_recordings([part.folds for part in self.parts])
        self.label_names, self.label_sets = self._label_sets()
        self.labels, self.class_names = self._classes()

    def _of_recordings(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """A value of each recording as one of each segment."""
        first = np.cumsum([0, *map(len, self.parts)])
        return np.concatenate(values)[first[self.rows[:, 0]] + self.rows[:, 1]]

    def _groups(self) -> tuple[Int[np.ndarray, "N"], tuple[str, ...]]:
        names = [
            f"{number}: {name}" if len(self.parts) > 1 else name
            for number, part in enumerate(self.parts)
            for name in part.group_names
        ]
        first = np.cumsum([0, *(len(part.group_names) for part in self.parts)])
        return self._of_recordings([p.groups + n for p, n in zip(self.parts, first, strict=False)]), tuple(
            names
        )

    def _classes(self) -> tuple[Int[np.ndarray, "N"] | None, tuple[str, ...] | None]:
        if self.config.label is not None:
            chosen = str(self.config.label)
            if self.label_sets is None or chosen not in self.label_names:
                raise ConfigError(
                    f"no recording has the label '{chosen}': {nearest(chosen, self.label_names)}"
                )
            column = self.label_sets[:, self.label_names.index(chosen)]
            return column.astype(np.int64), (f"without {chosen}", chosen)
        if self.label_sets is None or not (self.label_sets.sum(axis=1) == 1).all():
            return None, None
        return self.label_sets.argmax(axis=1), self.label_names

    def reread(self, config: EcgConfig) -> EcgSegments:
        """Segments of the same recordings by another config."""
        whole = config.at_least_one_crop()
        return EcgSegments([part.reread(whole) for part in self.parts], config)

    def _label_sets(self) -> tuple[tuple[str, ...], Bool[np.ndarray, "N K"] | None]:
        names = tuple(sorted({name for part in self.parts for name in part.label_names}))
        if not names:
            return (), None
        found = np.zeros((len(self.rows), len(names)), dtype=bool)
        for number, part in enumerate(self.parts):
            own = np.flatnonzero(self.rows[:, 0] == number)
            if part.labels is not None:
                columns = np.array([names.index(name) for name in part.label_names], dtype=np.int64)
                found[np.ix_(own, columns)] = part.labels[self.rows[own, 1]]
        return names, found

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict(), "_size": 0}

    def identity(self, i: int) -> str:
        """The name of the recording; in a long one with the seconds where the middle of the segment lies."""
        part, record, place = self.rows[i].tolist()
        name, count = self.parts[part].identity(record), self._counts[part][record]
        if count == 1:
            return name
        seconds = self.parts[part].seconds[record]
        start = (place + 0.5) / count * (seconds - self.samples / self.rate)
        return f"{name} at {start:.0f} s"

    def read(self, i: int) -> Float[Tensor, "C T"]:
        """Segment ``i`` with all that crops of it can reach: T is at least ``samples``.

        Raises:
            DataError: the recording cannot be read, or is shorter than a segment.
        """
        part, record, place = self.rows[i].tolist()
        live, values, length = self._prepared(part, record)
        starts = length - self.samples + 1
        if starts < 1:
            raise DataError(
                f"{self.parts[part].identity(record)} has {length / self.rate:.3g} s; expected at least "
                f"{self.samples / self.rate:g}: give shorter crops (seconds)"
            )
        count = int(self._counts[part][record])
        first, last = starts * place // count, max(starts * place // count + 1, starts * (place + 1) // count)
        x = np.zeros((len(self.leads), last - first - 1 + self.samples), dtype=np.float32)
        x[live] = values[:, first : last - 1 + self.samples]
        return torch.from_numpy(x)

    def _prepared(self, part: int, record: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Rows of the leads that are not silent, their values, and the length of a recording."""
        found = self._kept.get((part, record))
        if found is not None:
            self._kept.move_to_end((part, record))
            return found
        x = self.parts[part].read(record).numpy()
        live = np.flatnonzero(x.any(axis=1))
        found = live, np.ascontiguousarray(x[live]), x.shape[1]
        worker = get_worker_info()
        limit = self.config.cache * MEGABYTE // (worker.num_workers if worker else 1)
        if found[1].nbytes <= limit:
            self._kept[part, record] = found
            self._size += found[1].nbytes
            while self._size > limit:
                self._size -= self._kept.popitem(last=False)[1][1].nbytes
        return found


def _segments(part: EcgRecords, samples: int, most: int | None) -> Int[np.ndarray, "R"]:
    whole = np.nan_to_num(part.seconds * part.rate // samples, nan=1.0)
    return whole.clip(1, most).astype(np.int64)


def _rows(number: int, counts: Int[np.ndarray, "R"]) -> Int[np.ndarray, "N 3"]:
    records = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(records)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([np.full(len(records), number), records, places], axis=1)

"""EEG as numbered windows: from files, from MNE's objects, from arrays."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyjepa.data.base import Source, encode_labels
from anyjepa.data.broken import Broken
from anyjepa.data.eeg_channels import prepare, same_channels
from anyjepa.data.eeg_config import EEGConfig
from anyjepa.data.eeg_files import ENDINGS, Recording, read_epochs, read_file, read_raw
from anyjepa.data.montage import STANDARD, standard_places
from anyjepa.errors import ConfigError, DataError, nearest


@dataclass(frozen=True)
class EEGWindows(Source):
    """Numbered windows of EEG, in memory.

    Attributes:
        signals: (C, T_r) float32 in microvolts, one array per recording.
        names: what each recording is called.
        where: (N, 2) recording and first sample of each window.
        samples: length of a window.
        rate: samples per second.
        electrodes: C names.
        positions: (C, 3) in metres, NaN where unknown.
        groups: (N,) number of the subject, file or folder of each window.
        group_names: their names.
        labels: (N,) class of each window, or None.
        class_names: names of the classes, or None.
        skipped: windows or whole recordings left out because the recording was too short for them.
        broken: the recordings that were left out, and why.
    """

    signals: tuple[np.ndarray, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    where: np.ndarray = field(repr=False)
    samples: int
    rate: float
    electrodes: tuple[str, ...]
    positions: np.ndarray = field(repr=False)
    groups: np.ndarray = field(repr=False)
    group_names: tuple[str, ...]
    labels: np.ndarray | None = field(default=None, repr=False)
    class_names: tuple[str, ...] | None = None
    skipped: int = 0
    broken: tuple[Broken, ...] = ()

    @property
    def channels(self) -> int:  # type: ignore[override]
        """C, the number of electrodes."""
        return len(self.electrodes)

    @property
    def shape(self) -> tuple[int, int]:
        """(C, T) of every window."""
        return (self.channels, self.samples)

    def __len__(self) -> int:
        return len(self.where)

    def read(self, i: int) -> Float[Tensor, "C T"]:
        """Window ``i`` in microvolts."""
        recording, start = self.where[i]
        return torch.from_numpy(self.signals[recording][:, start : start + self.samples].copy())

    def batch(
        self, index: Sequence[int] | np.ndarray, late: Sequence[int] | np.ndarray | None = None
    ) -> Float[Tensor, "B C T"]:
        """Several windows in microvolts.

        Args:
            index: their numbers.
            late: (B,) samples by which each begins later, at most :attr:`room`.
        """
        where = self.where[np.asarray(index, dtype=np.int64)]
        starts = where[:, 1] if late is None else where[:, 1] + np.asarray(late, dtype=np.int64)
        found = np.empty((len(where), *self.shape), dtype=np.float32)
        for row, recording, start in zip(found, where[:, 0], starts, strict=True):
            row[:] = self.signals[recording][:, start : start + self.samples]
        return torch.from_numpy(found)

    @property
    def room(self) -> Int[np.ndarray, "N"]:
        """Samples from the end of each window to the end of its recording."""
        lengths = np.array([s.shape[1] for s in self.signals])
        return lengths[self.where[:, 0]] - self.where[:, 1] - self.samples

    def identity(self, i: int) -> str:
        """Where window ``i`` comes from, for a person."""
        recording, start = self.where[i]
        return f"{self.names[recording]} at {start / self.rate:.2f} s"

    def report(self) -> str:
        """What there is, in words."""
        seconds = sum(s.shape[1] for s in self.signals) / self.rate
        lines = [
            f"{len(self)} windows of {self.samples} samples ({self.samples / self.rate:g} s at {self.rate:g} Hz) from "
            f"{len(self.signals)} recordings ({seconds / 60:.1f} min) of {len(self.group_names)} groups",
            f"{self.channels} channels: {', '.join(self.electrodes)}",
        ]
        if self.labels is not None:
            names = self.class_names or tuple(map(str, np.unique(self.labels)))
            counts = np.unique(self.labels, return_counts=True)[1]
            lines.append("labels: " + ", ".join(f"{n} {c}" for n, c in zip(names, counts, strict=True)))
        for told in self.broken:
            lines.append(f"left out: {told.reason}")
        if self.skipped:
            lines.append(f"left out: {self.skipped} windows for which a recording was too short")
        return "\n".join(lines)


def open_eeg(
    data: Any,
    config: EEGConfig | None = None,
    *,
    labels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EEGWindows:
    """Windows of EEG. They stay in memory: about 110 MB for an hour of 62 channels at 128 Hz.

    Args:
        data: a file (.edf, .bdf, .gdf, .vhdr, .fif, .set, .npz, .npy), a folder of them, an MNE ``Raw`` or ``Epochs``, or a list
            of any of these. An .npz holds ``data`` (C, T) or (N, C, T), ``channels`` (names), ``rate``, and may hold
            ``positions`` (C, 3), ``labels`` and ``groups`` (N,).
        config: rate, filter, windows, channels.
        labels: one window per event (or trial) with its class; else windows at regular distances, events ignored.
        progress: called with (recordings read, recordings in all) after each.

    Raises:
        DataError: nothing is there, a file is broken or cut off, channels are unknown, doubled, or differ between recordings, a
            signal is empty or not finite, or no window fits.
        ConfigError: a setting that does not fit the data.
        MissingExtraError: MNE is needed and not installed.
    """
    config = config or EEGConfig()
    items = _items(data)
    if config.montage not in ("file", STANDARD):
        # An unknown montage is no fault of the recordings.
        standard_places(config.montage)
    prepared: list[Recording] = []
    broken: list[Broken] = []
    for done, item in enumerate(items, start=1):
        try:
            # One at a time, so that no more than one is in memory at its full rate.
            recording = prepare(_read(item, config), config)
            prepared.append(same_channels(recording, prepared[0] if prepared else recording))
        except DataError as error:
            broken.append(Broken(str(item) if isinstance(item, Path) else type(item).__name__, str(error)))
            if len(broken) > config.max_broken * len(items):
                raise _too_many(broken, len(items), config) from error
        if progress is not None:
            progress(done, len(items))
    return replace(_cut(prepared, config, labels), broken=tuple(broken))


def from_arrays(
    x: np.ndarray,
    channels: Sequence[str],
    rate: float,
    *,
    config: EEGConfig | None = None,
    labels: Sequence[Any] | np.ndarray | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    positions: np.ndarray | None = None,
) -> EEGWindows:
    """Windows of trials in an array.

    Args:
        x: (N, C, T) trials, in ``config.unit``.
        channels: C names.
        rate: samples per second of ``x``.
        config: as for :func:`open_eeg`; without one, whole trials as they are but for rate and filter.
        labels: (N,) whole numbers or texts.
        groups: (N,) what trials belong together.
        positions: (C, 3) in metres; None: from the montage.

    Raises:
        DataError, ConfigError, MissingExtraError: see :func:`open_eeg`.
    """
    config = config or EEGConfig(samples=None)
    if x.ndim != 3:
        raise DataError(f"expected trials of shape (N, channels, samples), got {x.shape}")
    found = Recording(
        "array",
        np.asarray(x),
        tuple(channels),
        rate,
        positions,
        labels=_as_array(labels),
        groups=_as_array(groups),
    )
    return _cut([prepare(found.scaled(config.unit), config)], config, labels is not None)


def _too_many(broken: list[Broken], total: int, config: EEGConfig) -> DataError:
    if len(broken) == 1:
        return DataError(broken[0].reason)
    return DataError(
        f"{len(broken)} of {total} recordings cannot be used, more than eeg.max_broken={config.max_broken:.0%}. "
        f"The first: {broken[0].reason}"
    )


def _as_array(values: Sequence[Any] | np.ndarray | None) -> np.ndarray | None:
    return None if values is None else np.asarray(values)


def _items(data: Any) -> list[Any]:
    if isinstance(data, (list, tuple)):
        found = [item for part in data for item in _items(part)]
        if not found:
            raise DataError("an empty list holds no EEG")
        return found
    if not isinstance(data, (str, Path)):
        return [data]
    place = Path(data).expanduser()
    if not place.exists():
        raise DataError(f"{data} does not exist; expected a file ({', '.join(ENDINGS)}) or a folder of them")
    if place.is_file():
        return [place]
    found = sorted(f for f in place.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
    if not found:
        raise DataError(f"{data} holds no EEG files: expected {', '.join(ENDINGS)}")
    return found


def _read(item: Any, config: EEGConfig) -> Recording:
    if isinstance(item, Path):
        return read_file(item, config.source_rate, config.unit, config.channels)
    # By their members, so that MNE need not be imported to find out that something is none of its objects.
    if hasattr(item, "get_data") and hasattr(item, "event_id"):
        return read_epochs(item, "epochs")
    if hasattr(item, "get_data") and hasattr(item, "annotations"):
        return read_raw(item, "raw")
    raise DataError(
        f"expected a path, an MNE Raw or Epochs, or a list of them, got {type(item).__name__}; for arrays use from_arrays"
    )


def _cut(recordings: list[Recording], config: EEGConfig, labels: bool) -> EEGWindows:
    """Windows of prepared recordings with the same channels."""
    trials = [t for r in recordings for t in r.trials()]
    samples = config.samples or min(t.signal.shape[1] for t in trials)
    starts: list[tuple[int, int]] = []
    classes: list[Any] = []
    groups: list[str] = []
    skipped = 0
    for number, trial in enumerate(trials):
        length = trial.signal.shape[1]
        if labels:
            found = [
                (round((second + config.offset) * config.rate), name)
                for second, name in trial.events
                if config.events is None or str(name) in config.events
            ]
        else:
            step = max(1, round(config.every * config.rate))
            found = [(start, None) for start in range(0, max(1, length - samples + 1), step)]
        for start, name in found:
            if start < 0 or start + samples > length:
                skipped += 1
                continue
            starts.append((number, start))
            classes.append(name)
            groups.append(
                _group(trial.source or trial.name, config.group) if trial.group is None else trial.group
            )
    if not starts:
        raise DataError(_nothing(trials, config, labels, samples))
    if config.limit is not None and config.limit < len(starts):
        rows = np.arange(config.limit) * len(starts) // config.limit
        starts, classes, groups = ([part[i] for i in rows] for part in (starts, classes, groups))  # type: ignore[assignment]
    first = trials[0]
    numbers, class_names = encode_labels(classes, "events") if labels else (None, None)
    group_names, group = np.unique(np.array(groups), return_inverse=True)
    assert first.positions is not None
    return EEGWindows(
        tuple(t.signal for t in trials),
        tuple(t.name for t in trials),
        np.array(starts, dtype=np.int64),
        samples,
        config.rate,
        first.channels,
        first.positions,
        group.astype(np.int64),
        tuple(group_names.tolist()),
        numbers,
        class_names,
        skipped,
    )


def _nothing(trials: list[Recording], config: EEGConfig, labels: bool, samples: int) -> str:
    names = sorted({str(name) for t in trials for _, name in t.events})
    if labels and not names:
        return (
            "the recordings hold no events: labels need annotations, a stimulus channel, or labels of trials"
        )
    if labels and config.events is not None and not set(names) & set(config.events):
        return f"none of the events {', '.join(config.events)} is there: {nearest(config.events[0], names)}"
    longest = max(t.signal.shape[1] for t in trials)
    return (
        f"no window of {samples} samples ({samples / config.rate:g} s) fits: the longest recording has {longest} samples "
        f"({longest / config.rate:g} s) at {config.rate:g} Hz; set eeg.samples"
    )


def _group(name: str, group: str) -> str:
    if group == "file":
        return name
    if group == "folder":
        return str(Path(name).parent)
    found = re.search(group, name)
    if found is None:
        raise ConfigError(f"eeg.group='{group}' finds nothing in '{name}'")
    return found.group(1) if found.groups() else found.group(0)

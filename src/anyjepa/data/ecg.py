"""ECG recordings of any origin as float32 tensors (leads, samples): one set of leads, one rate, one scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyjepa.data.ecg_leads import DATABASES, STANDARD_LEADS
from anyjepa.data.ecg_signal import (
    Condition,
    arrange,
    fill_holes,
    highpass,
    padded_leads,
    random_crop,
    resample,
    scale,
)
from anyjepa.data.ecg_stores import Store, WfdbStore, find_wfdb, open_ptbxl
from anyjepa.data.ecg_tables import open_array, open_csv, open_parquet
from anyjepa.errors import ConfigError, DataError, nearest

KINDS = (
    "a folder of WFDB records, of PTB-XL, of .csv or .parquet files, or one .npy, .npz, .csv or .parquet file"
)
"""What :func:`open_ecg` takes, in words."""

PUBLISHED_SECONDS = 10.0
"""Length of a sample of ECG-JEPA."""


@dataclass(frozen=True)
class EcgConfig:
    """How recordings are read. Defaults: ECG-JEPA (arXiv 2410.13867), but for ``resample``."""

    leads: tuple[str, ...] = STANDARD_LEADS
    """Leads in this order: all 12 or any subset of them, whatever a file calls and sorts them."""
    rate: float = 500.0
    """Sampling rate in Hz that every recording is brought to."""
    resample: Literal["polyphase", "fourier"] = "polyphase"
    """How. Fourier is the official code's; it takes a recording for periodic, so its ends ring."""
    derive: bool = True
    """Compute missing limb leads from I and II, from which they follow. What is missing then is zero."""
    highpass: float | None = None
    """Cut of a high-pass filter against baseline wander in Hz (official: 0.5 for CODE-15 and St Petersburg only)."""
    mean: tuple[float, ...] | None = None
    """Taken off each lead, in mV; None: nothing."""
    std: tuple[float, ...] | None = None
    """Each lead is divided by it, in mV (official: per database; see ``normalised``). None: recordings stay in mV, unclipped."""
    clip: float | None = 5.0
    """Scaled values are cut at plus and minus this; None: not."""
    min_seconds: float = 0.0
    """Shorter recordings are left out (official: 10)."""
    on_broken: Literal["skip", "refuse"] = "skip"
    """What becomes of recordings that cannot be read: counted and left out, or an error."""
    on_missing: Literal["zero", "skip"] = "zero"
    """What becomes of recordings that lack a lead: its samples are zero, or reading is an error (official: 12 leads only)."""
    on_padded: Literal["keep", "skip"] = "keep"
    """What becomes of recordings that begin or end with zeros in some lead, as CODE-15 fills up what is shorter: kept, or reading
    is an error (official for CODE-15)."""
    file_leads: tuple[str, ...] | None = None
    """Leads of an array that does not name them; None: ``leads``."""
    file_rate: float | None = None
    """Sampling rate in Hz of files that do not say theirs."""
    label_key: str = "Dx"
    """Comment of WFDB headers that holds the labels (`Dx` in the PhysioNet Challenges: SNOMED CT codes)."""
    task: str = "all"
    """Label set of PTB-XL: all, diagnostic, subdiagnostic, superdiagnostic, form or rhythm."""
    label: int | str | None = None
    """Where recordings have several labels: the one that is told from its absence; None: see `anyjepa probe --task sets`."""
    seconds: float | None = None
    """Length of a sample; in training a random crop. Longer recordings count once per so many seconds, shorter ones are left
    out. None: 10, or the shortest recording where none is that long."""
    most_of_one: int | None = None
    """A recording counts at most so often, so that a few long ones do not crowd out many short ones (the paper's data base of
    half-hour recordings gets 2 % of the training)."""
    max_broken: float = 0.1
    """Largest share of recordings that may be unreadable; each is replaced by the next readable one."""
    limit: int | None = None
    """Use that many samples, evenly spread over all; None: all."""
    scaled: bool = True
    """Where ``std`` is None, `anyjepa pretrain` takes ``mean`` and ``std`` from its data; else samples stay in mV."""
    cache: int = 1024
    """Megabytes of prepared recordings to keep in memory, in all loader processes together."""

    def __post_init__(self) -> None:
        for lead in self.leads:
            if lead not in STANDARD_LEADS:
                raise ConfigError(f"unknown lead '{lead}': {nearest(lead, STANDARD_LEADS)}")
        if not self.leads or len(set(self.leads)) < len(self.leads):
            raise ConfigError(f"leads must be different and at least one, got {self.leads}")
        if not self.rate > 0:
            raise ConfigError(f"rate must be above 0 Hz, got {self.rate}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.leads):
                raise ConfigError(
                    f"{name} needs one value for each of {len(self.leads)} leads, got {len(values)}"
                )
        if self.std is not None and not min(self.std) > 0:
            raise ConfigError(f"std must be above 0 for every lead, got {self.std}")
        if self.samples < 1:
            raise ConfigError(f"seconds={self.seconds} at {self.rate:g} Hz are no sample: use more seconds")
        if not 0 <= self.max_broken <= 1:
            raise ConfigError(f"max_broken is a share in 0..1, got {self.max_broken}")
        for name in ("most_of_one", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.cache < 0:
            raise ConfigError(f"cache must be at least 0 megabytes, got {self.cache}")

    @property
    def samples(self) -> int:
        """Length of a sample."""
        return round((PUBLISHED_SECONDS if self.seconds is None else self.seconds) * self.rate)

    def at_least_one_crop(self) -> EcgConfig:
        """The same, leaving out recordings shorter than a training sample."""
        return replace(self, min_seconds=max(self.min_seconds, self.samples / self.rate))

    def of_database(self, name: str) -> EcgConfig:
        """The same with the official constants of a database: see :data:`~anyjepa.data.ecg_leads.DATABASES`.

        Raises:
            ConfigError: an unknown database.
        """
        if name not in DATABASES:
            raise ConfigError(f"unknown database '{name}': {nearest(name, DATABASES)}")
        rows = [STANDARD_LEADS.index(lead) for lead in self.leads]
        constants = DATABASES[name]
        return replace(
            self,
            mean=tuple(constants.mean[r] for r in rows),
            std=tuple(constants.std[r] for r in rows),
        )


class EcgRecords:
    """A numbered list of recordings, each (C, T) float32 with the leads and the rate of ``config``; T differs.

    Args:
        store: where they lie.
        config: how to read them.
        where: the place, for errors.
        rows: numbers of the recordings in the store; None: all that are long enough.

    Attributes:
        config: how they are read.
        leads, rate: names of the C leads, and Hz.
        skipped: one text for each recording that was left out when the list was made: the broken ones, then the short ones.
        broken: one text for each of them that is broken.
        seconds: (N,) length of each recording, NaN where it is known only after reading.
        label_names: K labels in sorted order.
        labels: (N, K) which labels each recording has; None when no recording has any.
        groups: (N,) number of the patient; a recording without one is a patient of its own.
        group_names: name of each patient, in the order of the numbers.
        folds: (N,) fold of the official split, -1 where there is none.
    """

    def __init__(
        self, store: Store, config: EcgConfig, where: str, rows: Sequence[int] | np.ndarray | None = None
    ) -> None:
        self.config, self.where, self._store, self._asked = config, where, store, rows
        self.leads, self.rate = config.leads, config.rate
        short = [
            i for i, e in enumerate(store.entries) if e.seconds is not None and e.seconds < config.min_seconds
        ]
        self.broken = tuple(store.skipped)
        self.skipped = (
            *self.broken,
            *(f"{store.entries[i].identity}: shorter than {config.min_seconds:g} s" for i in short),
        )
        if self.skipped and config.on_broken == "refuse":
            raise DataError(
                f"{self.skipped[0]} ({len(self.skipped)} such recordings in {where}; on_broken=skip leaves them out)"
            )
        left_out = set(short)
        every = range(len(store.entries)) if rows is None else rows
        self._rows = [int(i) for i in every if i not in left_out]
        if not self._rows:
            reason = f"; the first of {len(self.skipped)}: {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"{where} holds no recording that can be used{reason}")
        entries = [store.entries[i] for i in self._rows]
        self.label_names = tuple(sorted({label for e in entries for label in e.labels}))
        self.labels: Bool[np.ndarray, "N K"] | None = None
        if self.label_names:
            column = {name: k for k, name in enumerate(self.label_names)}
            self.labels = np.zeros((len(entries), len(column)), dtype=bool)
            for row, e in enumerate(entries):
                self.labels[row, [column[label] for label in e.labels]] = True
        names = [
            f"recording {e.identity} of {where}" if e.group is None else f"patient {e.group}" for e in entries
        ]
        known, numbers = np.unique(names, return_inverse=True)
        self.group_names = tuple(known.tolist())
        self.groups: Int[np.ndarray, "N"] = numbers.astype(np.int64)
        self.folds: Int[np.ndarray, "N"] = np.array([-1 if e.fold is None else e.fold for e in entries])
        self.seconds: Float[np.ndarray, "N"] = np.array(
            [np.nan if e.seconds is None else e.seconds for e in entries]
        )

    def __len__(self) -> int:
        return len(self._rows)

    def identity(self, i: int) -> str:
        """The name by which a person finds recording ``i``."""
        return self._store.entries[self._rows[i]].identity

    def read(self, i: int) -> Float[Tensor, "C T"]:
        """Recording ``i``; DataError names a broken one."""
        return self.examine(i)[0]

    def examine(self, i: int) -> tuple[Float[Tensor, "C T"], Condition]:
        """Recording ``i`` and what was found and done to it: missing, derived and flat leads, interpolated values."""
        c = self.config
        raw = self._store.raw(self._rows[i])
        if c.on_padded == "skip" and (filled_up := padded_leads(raw.signal)).any():
            names = [name for name, yes in zip(raw.names, filled_up, strict=True) if yes]
            raise DataError(
                f"{self.identity(i)} begins or ends with zeros in {', '.join(names)}; on_padded=keep takes it as it is"
            )
        try:
            x, condition = arrange(raw.signal, raw.names, c.leads, c.derive)
            x, filled = fill_holes(x)
            x = resample(x, raw.rate, c.rate, c.resample)
            if c.highpass is not None:
                x = highpass(x, c.rate, c.highpass)
        except DataError as error:
            raise DataError(f"{self.identity(i)}: {error}") from error
        condition = replace(condition, filled=filled)
        if c.on_missing == "skip" and condition.missing:
            raise DataError(
                f"{self.identity(i)} lacks the leads {', '.join(condition.missing)}; on_missing=zero takes it with zeros"
            )
        silent = np.isin(c.leads, [*condition.missing, *condition.flat])
        if c.std is not None:
            x = scale(x, c.mean or (0.0,) * len(c.leads), c.std, c.clip, silent)
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)), condition

    def subset(self, rows: Sequence[int] | np.ndarray) -> EcgRecords:
        """Some of the recordings, in this order; the names of the labels are theirs alone."""
        chosen = [self._rows[int(i)] for i in rows]
        return EcgRecords(self._store, self.config, self.where, chosen)

    def crop(self, i: int, samples: int, *, seed: int, step: int) -> Float[Tensor, "C L"]:
        """A random stretch of recording ``i``, a function of (seed, step, i); DataError when it is shorter than that."""
        x = self.read(i)
        try:
            return random_crop(x, samples, seed=seed, step=step, index=i)
        except DataError as error:
            raise DataError(f"{self.identity(i)}: {error}") from error

    def reread(self, config: EcgConfig) -> EcgRecords:
        """The same recordings by another config."""
        return self if config == self.config else EcgRecords(self._store, config, self.where, self._asked)

    def normalised(
        self,
        rows: Iterable[int] | None = None,
        limit: int = 2000,
        absent: Literal["refuse", "zero"] = "refuse",
    ) -> EcgRecords:
        """The same recordings scaled by mean and standard deviation of each lead over time and recordings.

        Missing and flat leads do not count, recordings that cannot be read neither.

        Args:
            rows: recordings to take the constants from, e.g. those of the training folds; None: all.
            limit: use at most that many, evenly spread.
            absent: what becomes of leads that no recording has: an error, or they stay zero.

        Raises:
            DataError: a lead has no values at all, and none may be absent; or no lead has any.
        """
        chosen = list(range(len(self)) if rows is None else rows)
        if len(chosen) > limit:
            chosen = [chosen[j] for j in np.linspace(0, len(chosen) - 1, limit).astype(int)]
        plain = self.reread(replace(self.config, mean=None, std=None))
        count, total, squares = (np.zeros(len(self.leads)) for _ in range(3))
        for i in chosen:
            try:
                x, condition = plain.examine(i)
            except DataError:
                continue
            live = ~np.isin(self.leads, [*condition.missing, *condition.flat])
            values = x.numpy().astype(np.float64)
            count += live * values.shape[1]
            total += live * values.sum(axis=1)
            squares += live * np.square(values).sum(axis=1)
        lost = [lead for lead, n in zip(self.leads, count, strict=True) if n == 0]
        if lost and (absent == "refuse" or not count.any()):
            raise DataError(
                f"{self.where}: no recording has the leads {', '.join(lost)}; leave them out of leads"
            )
        known = np.maximum(count, 1)
        mean = total / known
        std = np.where(count, np.sqrt(np.maximum(squares / known - np.square(mean), 1e-12)), 1.0)
        scaled = replace(self.config, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
        return self.reread(scaled)


def open_ecg(path: str | Path, config: EcgConfig | None = None) -> EcgRecords:
    """The recordings behind a path.

    Args:
        path: see :data:`KINDS`. WFDB records may lie at any depth.
        config: how to read them.

    Raises:
        DataError: nothing is there, or nothing that can be used.
    """
    config = config or EcgConfig()
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"{path} does not exist; expected {KINDS}")
    return EcgRecords(_store(place, config), config, str(path))


def _store(place: Path, config: EcgConfig) -> Store:
    if place.is_file():
        ending = place.suffix.lower()
        if ending in (".npy", ".npz"):
            return open_array(place, config.file_leads or config.leads, config.file_rate)
        if ending == ".csv":
            return open_csv([place], config.file_rate)
        if ending == ".parquet":
            return open_parquet(place, config.file_rate)
        hint = f"; give the folder around it: {place.parent}" if ending in (".hea", ".dat", ".mat") else ""
        raise DataError(f"{place} is a {ending or 'nameless'} file{hint}; expected {KINDS}")
    if (place / "ptbxl_database.csv").is_file():
        return open_ptbxl(place, config.rate, config.task)
    records = find_wfdb(place)
    if records:
        return WfdbStore(place, records, config.label_key)
    tables = sorted(p for p in place.rglob("*") if p.suffix.lower() in (".csv", ".parquet"))
    if not tables:
        packed = sorted(p.name for p in place.glob("*.zip"))
        hint = f"; unpack {packed[0]} first" if packed else ""
        raise DataError(f"the folder {place} holds no recordings{hint}; expected {KINDS}")
    return open_csv(tables, config.file_rate)

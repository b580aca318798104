"""EEG as a kind of data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.contract import Method
from anyjepa.data.base import Source
from anyjepa.data.broken import Broken
from anyjepa.data.eeg import EEGWindows, from_arrays, open_eeg
from anyjepa.data.eeg_config import EEGConfig
from anyjepa.data.eeg_dataset import EEGDataset
from anyjepa.data.eeg_files import ENDINGS
from anyjepa.data.modality import Modality, Progress
from anyjepa.errors import ConfigError, DataError

SPREAD = (1.0, 500.0)
"""Microvolts between which the typical spread of a channel lies; beyond, the unit is probably another."""


@dataclass(frozen=True)
class EEGReport:
    """What there is.

    Attributes:
        looked_at: recordings, those left out among them.
        broken: those that were left out.
        windows: number of windows.
        text: what there is, in words.
        warnings: what looks wrong.
    """

    looked_at: int
    broken: tuple[Broken, ...]
    windows: int
    text: str
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([self.text, *(f"warning: {told}" for told in self.warnings)])


class EEG(Modality):
    """Windows of recordings of the brain's electric field, with a place on the head for every channel."""

    name = "eeg"
    noun = "windows"
    config = EEGConfig
    opens = f"a file or a folder of {', '.join(ENDINGS)}"
    # Arrays may hold anything.
    endings = frozenset(ENDINGS) - {".npz", ".npy"}
    axes = "channels, samples"

    def open(
        self, path: str | Path, config: EEGConfig, *, labels: bool = False, progress: Progress | None = None
    ) -> EEGWindows:
        return open_eeg(path, config, labels=labels, progress=progress)

    def given(self, x: Any, config: EEGConfig, shape: tuple[int, ...] | None = None) -> Source:
        """Windows, paths, objects of MNE, lists of them; arrays (N, C, T) with ``eeg.channels`` and ``eeg.source_rate``."""
        if isinstance(x, Source):
            return x
        if not isinstance(x, np.ndarray):
            return open_eeg(x, config)
        if config.channels is None or config.source_rate is None:
            raise DataError(
                "an array does not say what its channels are and how fast it was sampled: set eeg.channels and eeg.source_rate"
            )
        # The names are those of the array, in its order.
        return from_arrays(
            x, config.channels, config.source_rate, config=replace(config, channels=None, samples=None)
        )

    def inspect(self, source: Source, config: EEGConfig) -> EEGReport:
        windows = _windows(source)
        spreads = np.array([signal.std(axis=1) for signal in windows.signals])
        found = []
        flat = np.flatnonzero((spreads == 0).any(axis=0))
        if len(flat):
            found.append(
                f"channels that are flat in some recording: {', '.join(windows.electrodes[i] for i in flat)}"
            )
        typical = float(np.median(spreads))
        if not SPREAD[0] <= typical <= SPREAD[1]:
            found.append(
                f"channels typically spread by {typical:.3g} uV, EEG by {SPREAD[0]:g} to {SPREAD[1]:g}: is the unit right "
                "(eeg.unit, for arrays)?"
            )
        return EEGReport(
            len({name.split(" trial ")[0] for name in windows.names}) + len(windows.broken),
            windows.broken,
            len(windows),
            windows.report(),
            tuple(found),
        )

    def shape(self, source: Source, config: EEGConfig, report: EEGReport) -> tuple[int, int]:
        return _windows(source).shape

    def suit(self, config: EEGConfig, shape: tuple[int, ...]) -> EEGConfig:
        if len(shape) != 2:
            raise ConfigError(f"the method takes samples of shape {shape}, not windows (channels, samples)")
        return replace(config, samples=shape[1])

    def dataset(self, source: Source, config: EEGConfig) -> EEGDataset:
        return EEGDataset(_windows(source), config)

    def place(self, model: Any, source: Source, config: EEGConfig) -> Any:
        windows = _windows(source)
        if getattr(model, "positions", 0) is None and hasattr(model, "with_channels"):
            model = model.with_channels(windows.electrodes, windows.positions)
        return replace(model, rate=windows.rate) if hasattr(model, "rate") else model

    def openable(self, config: EEGConfig, theirs: EEGConfig, shape: tuple[int, ...]) -> EEGConfig:
        return replace(config, samples=shape[1]) if config.samples == EEGConfig().samples else config

    def continued(
        self, config: EEGConfig, theirs: EEGConfig, source: Source, shape: tuple[int, ...]
    ) -> EEGConfig:
        if _windows(source).channels != shape[0]:
            raise ConfigError(
                f"the weights are for {shape[0]} channels, the data have {_windows(source).channels}: name those of the weights "
                "in eeg.channels, or make a model for the data with with_channels"
            )
        if config.rate != theirs.rate or config.band != theirs.band:
            raise ConfigError(
                f"the weights were trained at {theirs.rate:g} Hz in the band {theirs.band}: set eeg.rate and eeg.band to them, "
                f"not {config.rate:g} and {config.band}"
            )
        return config

    def adapt(self, method: Method, source: Source) -> Method:
        """The method for the electrodes of these data: those it knows keep their codes, others get that of their place."""
        windows = _windows(source)
        mine = getattr(method.config, "channels", None)
        if mine is None or tuple(mine) == windows.electrodes or not hasattr(method, "with_channels"):
            return method
        moved: Method = method.with_channels(windows.electrodes, windows.positions)  # type: ignore[operator]
        return moved


def _windows(source: Source) -> EEGWindows:
    if not isinstance(source, EEGWindows):
        raise DataError(f"expected windows of EEG, got {type(source).__name__}: see anyjepa.data.eeg")
    return source

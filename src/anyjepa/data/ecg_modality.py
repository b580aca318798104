"""Recordings of the heart as a kind of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.contract import Method
from anyjepa.data.base import Source
from anyjepa.data.ecg import KINDS, PUBLISHED_SECONDS, EcgConfig, EcgRecords, open_ecg
from anyjepa.data.ecg_dataset import EcgDataset
from anyjepa.data.ecg_report import EcgReport, look_at_recordings
from anyjepa.data.ecg_segments import EcgSegments
from anyjepa.data.ecg_tables import array_store
from anyjepa.data.modality import Modality, Progress
from anyjepa.errors import ConfigError, DataError

BANDS, LAGS = 16, 64
"""Frequency bands of each lead, and lags of the autocorrelation, that are features without learning."""


class Ecg(Modality):
    """Multi-lead recordings of any length: diagnostic, ambulatory, from files or arrays."""

    name = "ecg"
    noun = "recordings"
    config = EcgConfig
    opens = KINDS
    endings = frozenset({".hea"})
    axes = "leads, samples"
    binding = ("leads", "rate", "seconds")
    inherited = ("mean", "std", "clip")
    unlearned = (
        "logarithms of spread and of the power in 16 bands of each lead, and the autocorrelation of the steepness over 64 lags, "
        "which shows the rhythm"
    )

    def open(
        self, path: str | Path, config: EcgConfig, *, labels: bool = False, progress: Progress | None = None
    ) -> EcgSegments:
        records = open_ecg(path, config if config.seconds is None else config.at_least_one_crop())
        if config.seconds is None:
            config = replace(config, seconds=usual_seconds(records))
        source = EcgSegments(records.reread(config.at_least_one_crop()), config)
        if labels and source.label_sets is None:
            raise DataError(
                f"the recordings of {path} have no labels: no header has a comment '#{config.label_key}: ...'; name another one "
                "with label_key"
            )
        if labels and source.labels is None:
            names = ", ".join(source.label_names[:5])
            raise DataError(
                f"the recordings of {path} have several labels each, or none ({len(source.label_names)} labels: {names}, ...): "
                f"score all of them with --task sets, or choose the one to be told: --read 'label={source.label_names[0]}'"
            )
        return source

    def given(self, x: Any, config: EcgConfig, shape: tuple[int, ...] | None = None) -> Source:
        if not isinstance(x, np.ndarray | Tensor):
            return super().given(x, config, shape)
        array = x.detach().cpu().numpy() if isinstance(x, Tensor) else x
        store = array_store(array, config.file_leads or config.leads, config.file_rate or config.rate)
        records = EcgRecords(store, config, "X")
        if config.seconds is None:
            config = replace(config, seconds=usual_seconds(records))
        return EcgSegments(records.reread(config.at_least_one_crop()), config)

    def inspect(self, source: Source, config: EcgConfig) -> EcgReport:
        return look_at_recordings(_segments(source))

    def shape(self, source: Source, config: EcgConfig, report: Any) -> tuple[int, int]:
        segments = _segments(source)
        return (segments.channels, segments.samples)

    def suit(self, config: EcgConfig, shape: tuple[int, ...]) -> EcgConfig:
        if len(shape) != 2:
            raise ConfigError(f"the method takes samples of shape {shape}, not recordings (leads, samples)")
        if shape[0] != len(config.leads):
            raise ConfigError(
                f"the model takes {shape[0]} leads, ecg.leads names {len(config.leads)}: {', '.join(config.leads)}"
            )
        if config.seconds is None:
            config = replace(config, seconds=shape[1] / config.rate)
        if shape[1] != config.samples:
            raise ConfigError(
                f"the model takes {shape[1]} samples, {config.samples} are given: set ecg.seconds="
                f"{shape[1] / config.rate:g} (at ecg.rate={config.rate:g} Hz) and leave model.length out"
            )
        return config

    def settle(self, source: Source, config: EcgConfig) -> tuple[Source, EcgConfig]:
        """Mean and standard deviation of each lead, where none were set."""
        segments = _segments(source)
        if config.seconds is None:
            config = replace(config, seconds=segments.samples / segments.rate)
        segments = segments.reread(config)
        if config.std is None and config.scaled:
            # Of several lists each keeps a scale of its own; later data are read with the first.
            scaled = [part.normalised(absent="zero") for part in segments.parts]
            first = scaled[0].config
            return EcgSegments(scaled, config), replace(config, mean=first.mean, std=first.std)
        return segments, config

    def dataset(self, source: Source, config: EcgConfig) -> EcgDataset:
        segments = _segments(source)
        if segments.samples != config.samples:
            segments = segments.reread(config)
        return EcgDataset(segments, config)

    def seen(self, config: EcgConfig) -> Any:
        return replace(config, limit=None, cache=0, max_broken=0.0, most_of_one=None, on_broken="skip")

    def raw(self, method: Method) -> Callable[[Tensor], Float[Tensor, "B F"]]:
        return spectrum_and_rhythm


def usual_seconds(records: EcgRecords) -> float:
    """Length of a sample where none was chosen: that of the paper, or of the shortest recording where none is that long."""
    known = records.seconds[np.isfinite(records.seconds)]
    if not len(known) or known.max() >= PUBLISHED_SECONDS:
        return PUBLISHED_SECONDS
    return int(float(known.min()) * records.rate) / records.rate


def spectrum_and_rhythm(x: Float[Tensor, "B C T"]) -> Float[Tensor, "B F"]:
    """Features without learning: see :attr:`Ecg.unlearned`. Bands are octaves and parts of them, of equal width in logarithms."""
    power = torch.fft.rfft(x - x.mean(dim=2, keepdim=True)).abs().square()[:, :, 1:]
    edges = torch.logspace(0, np.log10(power.shape[2]), BANDS + 1).round().long()
    # Every band has at least one frequency.
    bands = [
        power[:, :, a : max(b, a + 1)].mean(dim=2) for a, b in zip(edges - 1, edges[1:] - 1, strict=False)
    ]
    spread = x.std(dim=2).clamp(min=1e-3).log()
    steep = x.diff(dim=2).abs().sum(dim=1)
    steep = steep - steep.mean(dim=1, keepdim=True)
    # Twice the length, so that the end does not meet the beginning.
    alike = torch.fft.irfft(torch.fft.rfft(steep, n=2 * steep.shape[1]).abs().square())
    alike = alike[:, : max(2, steep.shape[1] // 2)] / alike[:, :1].clamp(min=1e-6)
    lags = torch.linspace(0, alike.shape[1] - 1, LAGS).long()
    return torch.cat([spread, (torch.cat(bands, dim=1) + 1e-3).log(), alike[:, lags]], dim=1)


def _segments(source: Source) -> EcgSegments:
    if not isinstance(source, EcgSegments):
        raise DataError(f"expected recordings as anyjepa.data.ecg opens them, got {type(source).__name__}")
    return source

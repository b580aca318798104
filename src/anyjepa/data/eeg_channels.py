"""From a recording as it was read to one that a model takes: channels, places, checks, filter, rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from anyjepa.data.eeg_config import EEGConfig
from anyjepa.data.eeg_files import Recording
from anyjepa.data.montage import look_up, suggestions
from anyjepa.errors import DataError, MissingExtraError, nearest


def prepare(recording: Recording, config: EEGConfig) -> Recording:
    """The recording with the channels to use, named and placed, checked, filtered and resampled.

    Raises:
        DataError, ConfigError, MissingExtraError: see :func:`anyjepa.data.eeg.open_eeg`.
    """
    names, places = _places(recording, config)
    keep = _chosen(recording.name, names, places, config)
    _check_doubles(recording, names, keep)
    signal = recording.signal[..., keep, :]
    if signal.size == 0:
        raise DataError(f"{recording.name} is empty: its signal has the shape {signal.shape}")
    bad = ~np.isfinite(signal)
    if bad.any():
        channel, sample = np.argwhere(bad)[0][-2:]
        raise DataError(
            f"{recording.name}: channel {names[keep[channel]]} holds a value that is not finite at "
            f"{sample / recording.rate:.3f} s ({int(bad.sum())} such values in all)"
        )
    signal = _resample(_filter(signal, recording, config), recording, config)
    return replace(
        recording,
        signal=np.ascontiguousarray(signal, dtype=np.float32),
        channels=tuple(names[i] for i in keep),
        positions=places[keep],
        rate=config.rate,
    )


def _places(recording: Recording, config: EEGConfig) -> tuple[tuple[str, ...], np.ndarray]:
    if recording.positions is not None and (config.montage == "file" or recording.own_places):
        return recording.channels, np.asarray(recording.positions, dtype=np.float64)
    if config.montage == "file":
        return recording.channels, np.full((len(recording.channels), 3), np.nan)
    return look_up(recording.channels, config.montage)


def _chosen(recording: str, names: tuple[str, ...], places: np.ndarray, config: EEGConfig) -> list[int]:
    """Numbers of the channels to use."""
    if config.channels is not None:
        number = {name.casefold(): i for i, name in enumerate(names)}
        wanted, _ = (
            (config.channels, 0) if config.montage == "file" else look_up(config.channels, config.montage)
        )
        missing = [name for name in wanted if name.casefold() not in number]
        if missing:
            raise DataError(f"{recording} has no channel {missing[0]}: {nearest(missing[0], names)}")
        keep = [number[name.casefold()] for name in wanted]
    else:
        keep = list(range(len(names)))
    nowhere = [i for i in keep if not np.isfinite(places[i]).all()]
    if nowhere and config.unknown == "error":
        strange = [names[i] for i in nowhere]
        told = ", ".join(strange) if config.montage == "file" else suggestions(strange, config.montage)
        raise DataError(
            f"{recording}: no place known for {len(strange)} of {len(keep)} channels: {told}; rename them, name the channels "
            "to use in eeg.channels, or set eeg.unknown to drop or keep"
        )
    if config.unknown == "drop":
        keep = [i for i in keep if i not in set(nowhere)]
    if not keep:
        raise DataError(f"{recording} has no EEG channels left; its channels: {', '.join(names) or 'none'}")
    return keep


def _check_doubles(recording: Recording, names: tuple[str, ...], keep: list[int]) -> None:
    for i in keep:
        same = [raw for raw, name in zip(recording.channels, names, strict=True) if name == names[i]]
        if len(same) > 1:
            raise DataError(
                f"{recording.name} has {len(same)} channels {names[i]} ({', '.join(same)}): rename all but one, or leave the "
                "name out of eeg.channels"
            )


def _filter(signal: np.ndarray, recording: Recording, config: EEGConfig) -> np.ndarray:
    if config.band is None:
        return signal
    mne = _mne()
    # What lies above half the rate is not there to be taken out.
    low, high = config.band
    edges = (low or None, high if high < recording.rate / 2 else None)
    if edges == (None, None):
        return signal
    return mne.filter.filter_data(
        signal.astype(np.float64), recording.rate, *edges, pad="reflect_limited", verbose="CRITICAL"
    )


def _resample(signal: np.ndarray, recording: Recording, config: EEGConfig) -> np.ndarray:
    if config.rate == recording.rate:
        return signal
    return _mne().filter.resample(
        signal.astype(np.float64), up=config.rate, down=recording.rate, verbose="CRITICAL"
    )


def _mne() -> Any:
    try:
        import mne
    except ImportError:
        raise MissingExtraError("mne", "eeg") from None
    return mne


def same_channels(recording: Recording, first: Recording) -> Recording:
    """``recording`` with the channels of ``first`` in their order; DataError when they are others."""
    if recording.channels == first.channels:
        return recording
    missing = [c for c in first.channels if c not in recording.channels]
    if missing or len(recording.channels) != len(first.channels):
        shared = [c for c in first.channels if c in recording.channels]
        more = [c for c in recording.channels if c not in first.channels]
        raise DataError(
            f"{recording.name} has other channels than {first.name}: without {', '.join(missing) or 'none'}, with "
            f"{', '.join(more) or 'none'} on top; {len(shared)} are in both: name the ones to use in eeg.channels"
        )
    order = [recording.channels.index(c) for c in first.channels]
    return replace(recording, signal=recording.signal[..., order, :], channels=first.channels)

"""Reading EEG recordings: files and objects of MNE, arrays in .npz and .npy. Nothing is filtered or renamed here."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.errors import DataError, MissingExtraError

ENDINGS = (".edf", ".bdf", ".gdf", ".vhdr", ".fif", ".set", ".npz", ".npy")
"""Files that are read; the first six by MNE."""
SIGNAL_KEYS = ("data", "x", "signals")
"""Keys of an .npz file that hold signals."""
LABEL_KEYS = ("labels", "y", "target")
"""Keys of an .npz file that hold labels."""
MICROVOLTS = {"uV": 1.0, "mV": 1e3, "V": 1e6}

_BROKEN = (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Recording:
    """One recording, or the trials of one array.

    Attributes:
        name: its path, or another name.
        signal: (C, T), or trials (N, C, T), in microvolts.
        channels: C names.
        rate: samples per second.
        positions: (C, 3) in metres, NaN where unknown; None: not stored.
        events: (seconds, name) in order of time.
        labels: (N,) of trials.
        groups: (N,) of trials.
        group: name of the subject, where it is stored.
        source: name of what a trial is part of; None: of itself.
        own_places: the positions were given on purpose, and go before those of a montage.
    """

    name: str
    signal: np.ndarray = field(repr=False)
    channels: tuple[str, ...]
    rate: float
    positions: np.ndarray | None = field(default=None, repr=False)
    events: tuple[tuple[float, Any], ...] = ()
    labels: np.ndarray | None = field(default=None, repr=False)
    groups: np.ndarray | None = field(default=None, repr=False)
    group: str | None = None
    source: str | None = None
    own_places: bool = True

    def __post_init__(self) -> None:
        if self.signal.ndim not in (2, 3) or self.signal.dtype.kind not in "fiu":
            raise DataError(
                f"{self.name}: signals are numbers of shape (channels, samples) or (trials, channels, samples), got "
                f"{self.signal.dtype} of shape {self.signal.shape}"
            )
        if len(self.channels) != self.signal.shape[-2]:
            raise DataError(
                f"{self.name}: {len(self.channels)} channel names for a signal of shape {self.signal.shape}; expected (..., "
                "channels, samples)"
            )
        if self.positions is not None and self.positions.shape != (len(self.channels), 3):
            raise DataError(
                f"{self.name}: positions must be ({len(self.channels)}, 3) in metres, got {self.positions.shape}"
            )
        if not self.rate > 0:
            raise DataError(f"{self.name}: the sampling rate must be above 0, got {self.rate}")
        for what, values in (("labels", self.labels), ("groups", self.groups)):
            if values is not None and (self.signal.ndim != 3 or len(values) != len(self.signal)):
                raise DataError(
                    f"{self.name}: {len(values)} {what} for a signal of shape {self.signal.shape}"
                )

    def scaled(self, unit: str) -> Recording:
        """The same with its signal, which is in ``unit``, in microvolts."""
        factor = MICROVOLTS[unit]
        return self if factor == 1.0 else replace(self, signal=self.signal * factor)

    def trials(self) -> Iterator[Recording]:
        """Each trial as a recording with one event at its start; a continuous recording is itself."""
        if self.signal.ndim == 2:
            yield self
            return
        for i, signal in enumerate(self.signal):
            yield replace(
                self,
                name=f"{self.name} trial {i}",
                signal=signal,
                events=() if self.labels is None else ((0.0, self.labels[i].item()),),
                labels=None,
                groups=None,
                group=None if self.groups is None else str(self.groups[i]),
                source=self.name,
            )


def read_file(
    path: Path, rate: float | None = None, unit: str = "uV", channels: tuple[str, ...] | None = None
) -> Recording:
    """The recording in a file.

    Args:
        path: one of :data:`ENDINGS`.
        rate: samples per second of an array that does not say it.
        unit: of an array.
        channels: of an array that does not name them.

    Raises:
        DataError: broken, cut off, or of a kind that is not read.
        MissingExtraError: MNE is needed and not installed.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise DataError(f"{path} is a {ending or 'nameless'} file; expected {', '.join(ENDINGS)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")
    if ending in (".npz", ".npy"):
        return _read_arrays(path, rate, channels).scaled(unit)
    if ending in (".edf", ".bdf"):
        _check_length(path)
    try:
        import mne
    except ImportError:
        raise MissingExtraError("mne", "eeg") from None
    epochs = path.name.endswith(("-epo.fif", "_epo.fif"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if epochs:
                found: Any = mne.read_epochs(path, preload=True, verbose="CRITICAL")
            else:
                found = mne.io.read_raw(path, preload=True, verbose="CRITICAL")
    except Exception as error:
        # MNE's readers raise errors of every kind on torn files.
        told = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"cannot read {path}: {told[:300]}") from error
    return read_epochs(found, str(path)) if epochs else read_raw(found, str(path))


def read_raw(raw: Any, name: str) -> Recording:
    """The EEG channels of an MNE ``Raw``: volts become microvolts, annotations (else a stimulus channel) become events."""
    import mne

    rate, picks = float(raw.info["sfreq"]), mne.pick_types(raw.info, eeg=True, exclude=[])
    if not len(picks):
        raise DataError(f"{name} has no EEG channels; its channels: {', '.join(raw.ch_names)}")
    if raw.n_times == 0:
        raise DataError(f"{name} is empty: 0 samples")
    marks = [(float(second), str(text)) for second, text in _annotations(raw)]
    if not marks and len(mne.pick_types(raw.info, stim=True)):
        found = mne.find_events(raw, shortest_event=1, verbose="CRITICAL")
        marks = [((int(e[0]) - raw.first_samp) / rate, str(e[2])) for e in found]
    return Recording(
        name,
        raw.get_data(picks=picks) * 1e6,
        tuple(raw.ch_names[i] for i in picks),
        rate,
        _stored_places(raw.info, picks),
        events=tuple(marks),
        own_places=False,
    )


def read_epochs(epochs: Any, name: str) -> Recording:
    """The EEG channels of an MNE ``Epochs``: each epoch is a trial, labelled with the name of its event."""
    import mne

    picks = mne.pick_types(epochs.info, eeg=True, exclude=[])
    if not len(picks):
        raise DataError(f"{name} has no EEG channels; its channels: {', '.join(epochs.ch_names)}")
    names = {number: text for text, number in epochs.event_id.items()}
    # get_data first: it drops bad epochs, and the events with them.
    signal = epochs.get_data(picks=picks) * 1e6
    labels = np.array([names.get(int(e), str(e)) for e in epochs.events[:, 2]])
    return Recording(
        name,
        signal,
        tuple(epochs.ch_names[i] for i in picks),
        float(epochs.info["sfreq"]),
        _stored_places(epochs.info, picks),
        labels=labels,
        own_places=False,
    )


def _annotations(raw: Any) -> list[tuple[float, str]]:
    """Seconds from the first sample and text of each annotation but those that mark bad or joined stretches."""
    start = raw.first_time if raw.annotations.orig_time is not None else 0.0
    return [
        (float(a["onset"]) - start, str(a["description"]))
        for a in raw.annotations
        if not str(a["description"]).casefold().startswith(("bad", "edge"))
    ]


def _stored_places(info: Any, picks: np.ndarray) -> np.ndarray | None:
    """The first three numbers of ``loc`` are the electrode, the next three its reference. All zeros: unknown."""
    found = np.array([info["chs"][i]["loc"][:3] for i in picks], dtype=np.float64)
    found[~np.isfinite(found).all(axis=1) | (found == 0).all(axis=1)] = np.nan
    return None if np.isnan(found).all() else found


def _check_length(path: Path) -> None:
    """Whether an EDF or BDF file is as long as its header says: MNE reads a cut-off one without a word."""
    with path.open("rb") as file:
        fixed = file.read(256)
        try:
            header, records, signals = int(fixed[184:192]), int(fixed[236:244]), int(fixed[252:256])
            text = file.read(signals * 256)
            per_signal = [int(text[216 * signals + 8 * i :][:8]) for i in range(signals)]
        except ValueError:
            raise DataError(f"cannot read {path}: its header is not that of an EDF or BDF file") from None
    # -1 records: the recorder was stopped before it could count them.
    expected = header + records * sum(per_signal) * (3 if fixed[:1] == b"\xff" else 2)
    size = path.stat().st_size
    if records >= 0 and size < expected:
        raise DataError(f"{path} is cut off: its header promises {expected} bytes, it has {size}")


def _read_arrays(path: Path, rate: float | None, channels: tuple[str, ...] | None) -> Recording:
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            content = {"data": stored}
        else:
            with stored:
                content = {key: stored[key] for key in stored.files}
    except _BROKEN as error:
        raise DataError(f"cannot read {path}: {error}") from error
    key = next((k for k in SIGNAL_KEYS if k in content), None)
    if key is None:
        raise DataError(
            f"{path} has no signals: expected a key {', '.join(SIGNAL_KEYS)}; its keys: {', '.join(content)}"
        )
    names = tuple(map(str, content["channels"])) if "channels" in content else channels
    if names is None:
        raise DataError(f"{path} does not name its channels: store a key 'channels', or set eeg.channels")
    stored_rate = next((float(content[k]) for k in ("rate", "sfreq", "fs") if k in content), rate)
    if stored_rate is None:
        raise DataError(f"{path} has no sampling rate: store a key 'rate', or set eeg.source_rate")
    label = next((content[k] for k in LABEL_KEYS if k in content), None)
    return Recording(
        str(path),
        content[key],
        names,
        stored_rate,
        content.get("positions"),
        labels=label,
        groups=content.get("groups"),
    )

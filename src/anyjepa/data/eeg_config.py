"""How recordings of EEG become windows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from anyjepa.data.montage import STANDARD
from anyjepa.errors import ConfigError, nearest


@dataclass(frozen=True)
class EEGConfig:
    """How recordings become windows. Defaults: S-JEPA (arXiv 2403.11772)."""

    rate: float = 128.0
    """Samples per second that signals are brought to (paper)."""
    band: tuple[float, float] | None = (0.5, 40.0)
    """Pass band in Hz (paper), by MNE's FIR filter; None: as recorded."""
    samples: int | None = 2072
    """Samples of a window at ``rate`` (paper: 152, 536 or 2072, which are 1, 4 or 16 tokens); None: whole trials."""
    every: float = 16.9
    """Seconds from the start of one unlabelled window to the next (paper, whatever the length)."""
    jitter: float = 0.0
    """Seconds by which an unlabelled window may begin later in training, drawn anew each time (0 in the paper: always the same
    windows). With few recordings set it to ``every``, and all there is gets seen."""
    offset: float = 0.0
    """Seconds from an event to the start of its labelled window."""
    events: tuple[str, ...] | None = None
    """Events that are classes, by name; None: all there are."""
    channels: tuple[str, ...] | None = None
    """Channels to use, in this order; None: all of the first recording, which the others must have too."""
    montage: str = STANDARD
    """Standard montage of MNE in which channel names are looked up; ``file``: the places stored with the recording."""
    unknown: Literal["error", "drop", "keep"] = "error"
    """What is done with channels whose place is not known: keep gives them none."""
    group: str = "file"
    """What windows belong together (a subject): ``file``, ``folder``, or a regular expression that finds its name in the path,
    such as ``S[0-9]+``."""
    source_rate: float | None = None
    """Samples per second of arrays that do not say it."""
    unit: Literal["uV", "mV", "V"] = "uV"
    """Unit of arrays. Files know theirs; windows are always in microvolts."""
    max_broken: float = 0.1
    """Largest share of the recordings that may be unusable (cut off, not finite, other channels): they are left out and named."""
    limit: int | None = None
    """Use that many windows, evenly spread over all; None: all."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(EEGConfig).items():
            value, choices = getattr(self, name), get_args(hint)
            if choices and all(isinstance(c, str) for c in choices) and value not in choices:
                raise ConfigError(f"unknown eeg.{name} '{value}': {nearest(str(value), choices)}")
        for name in ("rate", "every", "source_rate", "samples"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"eeg.{name} must be above 0, got {value}")
        if not 0 <= self.jitter < float("inf"):
            raise ConfigError(f"eeg.jitter must be 0 or more seconds, got {self.jitter}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"eeg.limit must be at least 1, got {self.limit}")
        if not 0 <= self.max_broken <= 1:
            raise ConfigError(f"eeg.max_broken is a share in 0..1, got {self.max_broken}")
        if self.band is not None and not 0 <= self.band[0] < self.band[1]:
            raise ConfigError(f"eeg.band must be (low, high) in Hz with 0 <= low < high, got {self.band}")
        try:
            re.compile(self.group)
        except re.error as error:
            raise ConfigError(f"eeg.group='{self.group}' is no regular expression: {error}") from None

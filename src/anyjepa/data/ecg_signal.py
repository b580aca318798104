"""What is done to a recording between file and model: holes, rate, filter, order of leads, scale. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyjepa.data.ecg_leads import LIMB, is_modified, lead_name
from anyjepa.errors import ConfigError, DataError
from anyjepa.randomness import uniform

Signal = Float[np.ndarray, "C T"]


@dataclass(frozen=True)
class Condition:
    """What was found and done to one recording."""

    missing: tuple[str, ...] = ()
    """Leads that the recording lacks; they are zero."""
    derived: tuple[str, ...] = ()
    """Limb leads computed from I and II."""
    flat: tuple[str, ...] = ()
    """Leads that hold one single value, or none; they are zero."""
    filled: int = 0
    """Values that were not finite and were interpolated."""


def padded_leads(x: Signal) -> Bool[np.ndarray, "C"]:
    """Leads whose first or last value is zero: without the zeros at its ends such a lead is shorter than the recording."""
    return (x[:, 0] == 0) | (x[:, -1] == 0)


def fill_holes(x: Signal) -> tuple[Signal, int]:
    """Values that are not finite, interpolated linearly within their lead and held constant at its ends; and their number.

    A lead without a single finite value stays as it is.
    """
    bad = ~np.isfinite(x)
    if not bad.any():
        return x, 0
    x, place = x.copy(), np.arange(x.shape[1])
    count = 0
    for lead in np.flatnonzero(bad.any(axis=1) & ~bad.all(axis=1)):
        hole = bad[lead]
        x[lead, hole] = np.interp(place[hole], place[~hole], x[lead, ~hole])
        count += int(hole.sum())
    return x, count


def resample(x: Signal, source: float, target: float, how: str = "polyphase") -> Float[np.ndarray, "C L"]:
    """The same recording at another rate, ``int(T * target / source)`` samples long.

    Args:
        x: the recording.
        source, target: rates in Hz.
        how: ``"polyphase"``, a filter whose errors stay near the ends, or ``"fourier"``, as in ECG-JEPA, which takes the
            recording for periodic.
    """
    if source == target:
        return x
    from scipy import signal

    length = int(x.shape[1] * target / source)
    if length < 1:
        raise DataError(f"{x.shape[1]} samples at {source:g} Hz are less than one at {target:g} Hz")
    out, live = np.zeros((len(x), length)), x.any(axis=1)
    if how == "fourier":
        out[live] = signal.resample(x[live], length, axis=1)
    else:
        ratio = Fraction(target / source).limit_denominator(1000)
        # The median is taken off before the filter, which sees zeros beyond the ends, so that the ends do not ring.
        moved = signal.resample_poly(x[live], ratio.numerator, ratio.denominator, axis=1, padtype="median")
        out[live] = moved[:, :length]
    return out


def highpass(x: Signal, rate: float, cut: float = 0.5) -> Signal:
    """Without baseline wander: Butterworth of order 4, forward and backward (ECG-JEPA, for CODE-15 and St Petersburg).

    Raises:
        DataError: the recording is too short to be filtered.
    """
    from scipy import signal

    b, a = signal.butter(4, cut, btype="highpass", fs=rate)
    if x.shape[1] <= 3 * max(len(a), len(b)):
        raise DataError(f"a recording of {x.shape[1]} samples is too short for a high-pass filter")
    return signal.filtfilt(b, a, x, axis=1)


def arrange(
    x: Signal, names: Sequence[str], leads: Sequence[str], derive: bool = True
) -> tuple[Float[np.ndarray, "K T"], Condition]:
    """The wanted leads in their order; missing and flat ones are zero.

    Args:
        x: the recording, its channels called ``names``.
        names: as stored; see :func:`~anyjepa.data.ecg_leads.lead_name`. Other channels are left out.
        leads: standard names of the wanted leads.
        derive: compute missing limb leads from I and II.

    Raises:
        DataError: none of the leads is there, or one is there twice.
    """
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        lead = lead_name(name)
        # A lead of the usual name wins over a modified one: II over MLII.
        if lead is None or (lead in rows and is_modified(name)):
            continue
        if lead in rows and not is_modified(names[rows[lead]]):
            raise DataError(f"lead {lead} is there twice, as channels {rows[lead]} and {row}")
        rows[lead] = row
    dead = {lead for lead, row in rows.items() if _is_flat(x[row])}
    out = np.zeros((len(leads), x.shape[1]))
    missing, derived, flat = [], [], []
    for i, lead in enumerate(leads):
        if lead in rows and lead not in dead:
            out[i] = x[rows[lead]]
        elif lead in dead:
            flat.append(lead)
        elif derive and lead in LIMB and {"I", "II"} <= rows.keys() - dead:
            a, b = LIMB[lead]
            out[i] = a * x[rows["I"]] + b * x[rows["II"]]
            derived.append(lead)
        else:
            missing.append(lead)
    if len(missing) == len(leads):
        raise DataError(f"none of the leads {', '.join(leads)} is among its channels {', '.join(names)}")
    return out, Condition(tuple(missing), tuple(derived), tuple(flat))


def _is_flat(lead: Float[np.ndarray, "T"]) -> bool:
    finite = lead[np.isfinite(lead)]
    return finite.size == 0 or bool(finite.min() == finite.max())


def scale(
    x: Signal, mean: Sequence[float], std: Sequence[float], clip: float | None, silent: Bool[np.ndarray, "C"]
) -> Signal:
    """(x - mean) / std of each lead, cut at +-``clip``; ``silent`` leads stay zero."""
    x = (x - np.asarray(mean)[:, None]) / np.asarray(std)[:, None]
    x[silent] = 0.0
    return x if clip is None else x.clip(-clip, clip)


def random_crop(
    x: Float[Tensor, "C T"], length: int, *, seed: int, step: int, index: int
) -> Float[Tensor, "C L"]:
    """A stretch of ``length`` samples, its start uniform and a function of (seed, step, index) alone.

    Raises:
        DataError: the recording is shorter.
    """
    free = x.shape[1] - length
    if free < 0:
        raise DataError(f"a crop of {length} samples was asked for, the recording has {x.shape[1]}")
    start = int(uniform(seed, "ecg/crop", step, index, 1)[0, 0] * (free + 1))
    return x[:, start : start + length]


def sliding_crops(x: Float[Tensor, "B C T"], length: int, stride: int) -> Float[Tensor, "B S C L"]:
    """All crops that begin at multiples of ``stride``. The paper classifies 10 s as 7 crops of 2.5 s, one every 1.25 s.

    Raises:
        ConfigError: the recordings are shorter than a crop.
    """
    if x.shape[2] < length or length < 1 or stride < 1:
        raise ConfigError(
            f"crops of {length} samples every {stride} do not fit recordings of {x.shape[2]} samples"
        )
    return torch.movedim(x.unfold(2, length, stride), 2, 1).contiguous()

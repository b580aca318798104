"""From a scan to the numbers a model sees: one scale for all scans, one frame rate, one length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from anyjepa.errors import ConfigError, DataError, nearest

ScalingKind = Literal["zscore", "scan", "robust", "robust-mean", "none"]
FLAT = 1e-6
"""A region whose spread is below this share of its largest magnitude does not vary."""


@dataclass(frozen=True)
class RoiScaling:
    """How series are scaled. Plain values: it can stand in a config or beside a checkpoint."""

    kind: ScalingKind = "zscore"
    """``zscore``: each region of each scan has mean 0 and deviation 1. ``scan``: the scan as a whole has (the official script for
    HCP-Aging). ``robust``: each region less its median, divided by its interquartile range, over all frames of all scans.
    ``robust-mean``: the same over the means of the scans, the official way; what is left is mostly a constant offset of each
    region of a scan. ``none``: as stored."""
    centre: tuple[float, ...] | None = None
    """Median of each region, for the robust kinds; None: yet to be taken from the training scans."""
    spread: tuple[float, ...] | None = None
    """Interquartile range of each region, for the robust kinds."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScalingKind):
            raise ConfigError(f"unknown scaling '{self.kind}': {nearest(self.kind, get_args(ScalingKind))}")

    @property
    def fitted(self) -> bool:
        """Whether it knows all it needs."""
        return not self.kind.startswith("robust") or (self.centre is not None and self.spread is not None)

    def apply(self, scan: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R T"]:
        """The scaled scan; regions that do not vary are 0 under ``zscore``, and so is every missing value.

        Raises:
            DataError: the statistics are missing, or those of another number of regions.
        """
        x = scan.astype(np.float64)
        if self.kind == "zscore":
            x = _over(x - _mean(x, 1), _deviation(x, 1), np.abs(scan).max(axis=1, initial=0, keepdims=True))
        elif self.kind == "scan":
            largest = np.nanmax(np.abs(x), keepdims=True, initial=0)
            x = _over(x - _mean(x, None), _deviation(x, None), largest)
        elif self.kind != "none":
            if not self.fitted:
                raise DataError(
                    f"scaling '{self.kind}' needs the statistics of the training scans: use fit_scaling"
                )
            if len(self.centre or ()) != len(x):
                raise DataError(
                    f"the scaling is that of {len(self.centre or ())} regions, the scan has {len(x)}"
                )
            x = (x - np.array(self.centre)[:, None]) / np.array(self.spread)[:, None]
        return np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)


def fit_scaling(kind: ScalingKind, scans: Iterable[Float[np.ndarray, "R _"]]) -> RoiScaling:
    """The scaling of some scans; only the robust kinds look at them. Give the training scans alone.

    Raises:
        DataError: a robust kind has no scan, or a region whose values do not spread.
    """
    if not str(kind).startswith("robust"):
        return RoiScaling(kind)
    values = [np.nanmean(s, axis=1, keepdims=True) if kind == "robust-mean" else s for s in scans]
    if not values:
        raise DataError(f"scaling '{kind}' needs at least one scan")
    pool = np.concatenate(values, axis=1).astype(np.float64)
    low, centre, high = np.nanpercentile(pool, [25, 50, 75], axis=1)
    spread = high - low
    dead = np.flatnonzero(~(spread > FLAT * np.nanmax(np.abs(pool), axis=1)))
    if len(dead):
        raise DataError(
            f"scaling '{kind}': {len(dead)} regions (first: {dead[0]}, from 0) do not spread over {len(values)} scans: use "
            "scaling 'zscore', or more scans"
        )
    return RoiScaling(kind, tuple(centre.tolist()), tuple(spread.tolist()))


def stride_indices(frames: int, stride: int, clip: int, start: float = 0.0) -> Int[np.ndarray, "n"]:
    """Frames of a clip as the official code takes them: trunc(linspace(start, start + stride * clip - 1, clip)).

    Args:
        frames: frames of the scan; none lies outside.
        stride: frames of the scan for each of the clip.
        clip: frames of the clip.
        start: first frame, a real number.
    """
    at = np.linspace(start, start + stride * clip - 1, clip)
    return np.clip(np.trunc(at), 0, frames - 1).astype(np.int64)


def take_clip(
    scan: Float[np.ndarray, "R T"],
    ratio: float,
    clip: int,
    u: float,
    *,
    how: Literal["linear", "stride"] = "linear",
) -> tuple[Float[np.ndarray, "R n"], Bool[np.ndarray, "n"]]:
    """A clip at another frame rate, and which of its frames exist; the others are 0.

    Args:
        scan: a scaled scan.
        ratio: frames of the scan for each of the clip (target TR over TR).
        clip: frames of the clip.
        u: where it begins, from 0 (as early as can be) to 1 (as late).
        how: ``linear``: between the two nearest frames, at the exact rate; ``stride``: see :func:`stride_indices`, with the
            nearest whole ratio.
    """
    frames = scan.shape[1]
    have = min(clip, clip_frames(frames, ratio, how))
    out, valid = np.zeros((len(scan), clip), dtype=np.float32), np.arange(clip) < have
    if not have:
        return out, valid
    if how == "stride":
        stride = max(1, round(ratio))
        out[:, :have] = scan[:, stride_indices(frames, stride, have, u * max(0, frames - stride * have))]
        return out, valid
    # Whole first frames: between two frames a scan at the same rate would be smoothed.
    first = np.floor(u * np.floor(frames - 1 - ratio * (have - 1) + 1e-9) + 1e-9)
    at = first + ratio * np.arange(have)
    low = np.minimum(np.floor(at + 1e-9).astype(np.int64), frames - 1)
    high = np.minimum(low + 1, frames - 1)
    weight = np.clip(at - low, 0.0, 1.0).astype(np.float32)
    out[:, :have] = scan[:, low] * (1 - weight) + scan[:, high] * weight
    return out, valid


def clip_frames(frames: int, ratio: float, how: Literal["linear", "stride"] = "linear") -> int:
    """The frames a scan gives at another rate."""
    if frames < 1:
        return 0
    return frames // max(1, round(ratio)) if how == "stride" else int((frames - 1) / ratio + 1e-9) + 1


def _mean(x: np.ndarray, axis: int | None) -> np.ndarray:
    known = np.isfinite(x)
    return np.where(known, x, 0.0).sum(axis, keepdims=True) / np.maximum(known.sum(axis, keepdims=True), 1)


def _deviation(x: np.ndarray, axis: int | None) -> np.ndarray:
    return np.sqrt(_mean((x - _mean(x, axis)) ** 2, axis))


def _over(x: np.ndarray, deviation: np.ndarray, largest: np.ndarray) -> np.ndarray:
    flat = ~(deviation > FLAT * np.nan_to_num(largest))
    return np.where(flat, 0.0, x / np.where(flat, 1.0, deviation))

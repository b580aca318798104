"""Masks on a grid of regions (ROIs) and times: Cross-ROI, Cross-Time, Double-Cross (Brain-JEPA, arXiv 2409.19407, section 3.2).

What is seen is a random set of regions during a run of time. What is asked lies, as seen from there, in other regions at the
same time (Cross-ROI), in the same regions at other times (Cross-Time), or in other regions at other times (Double-Cross). The
sets overlap when they are drawn, and the overlap is taken out of what is seen.

``compat="fixed"`` (default) and ``compat="official"`` differ in three points:

=====================  =====================================  =====================================================
point                  fixed                                  official
=====================  =====================================  =====================================================
start of a run         every start that fits                  never the last one: the last time is never seen
cut to common length   a random choice of each list           the first entries: regions of high number get lost
token asked for twice  counts once                            counts twice (0.3 % of the tokens)
=====================  =====================================  =====================================================

The fixed masks of a sample depend on (seed, step, sample index) alone; only the common lengths depend on the other samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.randomness import derive_seed, uniform

CROSS_ROI, CROSS_TIME, DOUBLE_CROSS = 0, 1, 2
"""What :func:`regions` calls a target token."""


@dataclass(frozen=True)
class RoiTimeConfig:
    """Sizes, each drawn evenly from (low, high), as shares of all regions or of all times. Defaults: paper, section 4.1."""

    seen_rois: tuple[float, float] = (0.84, 1.0)
    """Regions that are seen, before those of the Cross-ROI targets are taken out."""
    seen_times: tuple[float, float] = (0.84, 1.0)
    """Length of the run of times that is seen, before target times are taken out. Rounded down: with 10 times, 8 or 9."""
    cross_roi_rois: tuple[float, float] = (0.45, 0.6)
    """Regions of the Cross-ROI targets, of all regions."""
    cross_roi_times: tuple[float, float] = (0.2, 0.6)
    """Length of the run of the Cross-ROI targets, inside the run that is seen."""
    cross_time_rois: tuple[float, float] = (0.15, 0.3)
    """Regions asked for at hidden times: this share of those seen (Cross-Time) and of the others (Double-Cross), drawn for each
    end of the scan."""
    cross_time_times: tuple[float, float] = (0.0, 0.4)
    """Times hidden at each end of the scan; at most 0.5, or nothing could be left in the middle."""
    compat: Literal["fixed", "official"] = "fixed"
    """``official`` brings the slips of the official code back."""
    truncate: Literal["random", "pad"] = "random"
    """How contexts get one length: ``random`` drops tokens to the shortest, ``pad`` keeps all and pads (fixed only). Targets are
    always cut."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("seen_rois", 0.0, 1.0),
            ("seen_times", 0.0, 1.0),
            ("cross_roi_rois", 0.0, 1.0),
            ("cross_roi_times", 0.0, 1.0),
            ("cross_time_rois", 0.0, 1.0),
            ("cross_time_times", 0.0, 0.5),
        ):
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ConfigError(
                    f"masks.{name} must be (low, high) with {least:g} <= low <= high <= {most:g}, got {(low, high)}"
                )
        if self.compat == "official" and self.truncate == "pad":
            raise ConfigError(
                "masks.truncate=pad needs masks.compat=fixed: the official masks are always truncated"
            )

    def fit(self, layout: Layout) -> RoiTimeConfig:
        """Checks that every draw leaves something to see.

        Raises:
            ConfigError: the layout is not (regions, times), or is too small for the shares.
        """
        if len(layout.grid) != 2:
            raise ConfigError(f"ROI-time masks need a grid of regions and times, got {layout.grid}")
        rois, times = layout.grid
        seen = _least(rois, self.seen_rois)
        asked = _most(rois, self.cross_roi_rois)
        if seen <= asked:
            raise ConfigError(
                f"{rois} regions are too few for these masks: {seen} may be seen, and all of them hidden by the {asked} of the "
                "Cross-ROI targets: use more regions, or a smaller masks.cross_roi_rois"
            )
        run, edge = _least(times, self.seen_times), edge_of(times, self)
        if times - 2 * edge <= max(0, times - run - edge):
            raise ConfigError(
                f"{times} times are too few for these masks: a run of {run} may be seen, and all of it hidden by {edge} at each "
                "end: use a smaller patch_size, or a smaller masks.cross_time_times"
            )
        return self


def edge_of(times: int, config: RoiTimeConfig) -> int:
    """How many times at each end of the scan may be hidden (3 of 10)."""
    return max(0, math.ceil(times * config.cross_time_times[1]) - 1)


def roi_time_masks(
    config: RoiTimeConfig,
    layout: Layout,
    *,
    seed: int,
    step: int,
    index: ArrayLike,
    peers: ArrayLike | None = None,
) -> Masks:
    """Masks of a batch: context (B, K) and one block of targets (B, 1, P), token number = region * times + time.

    Args:
        config: sizes.
        layout: a grid (regions, times).
        seed: seed of the run.
        step: optimizer step; all samples of a step share the sizes of the seen and of the Cross-ROI set.
        index: sample indices (B,).
        peers: indices of all samples of the step, when this batch is only a part of it.

    Returns:
        Masks on the CPU, each list ascending (official: the targets are Cross-ROI, then late, then early times).
    """
    config.fit(layout)
    rows = np.atleast_1d(np.asarray(index))
    draws = _Draws(config, layout, seed, step)
    if config.compat == "official":
        return _official(*draws.sets(rows))
    context, targets = draws.maps(rows)
    shortest, fewest = int(context.sum(1).min()), int(targets.sum(1).min())
    if peers is not None and len(others := np.setdiff1d(np.asarray(peers), rows)):
        theirs = draws.maps(others)
        shortest, fewest = (
            min(shortest, int(theirs[0].sum(1).min())),
            min(fewest, int(theirs[1].sum(1).min())),
        )
    keys = uniform(seed, "mask/roi-time/cut", step, rows, 2 * layout.tokens)
    asked = torch.from_numpy(_some(targets, keys[:, layout.tokens :], fewest)[:, None])
    if config.truncate == "random":
        return Masks(torch.from_numpy(_some(context, keys[:, : layout.tokens], shortest)), asked)
    lengths = context.sum(1)
    order = np.argsort(~context, axis=1, kind="stable")[:, : int(lengths.max())]
    valid = np.arange(order.shape[1]) < lengths[:, None]
    order[~valid] = 0
    return Masks(torch.from_numpy(order), asked, None if valid.all() else torch.from_numpy(valid))


def regions(masks: Masks, layout: Layout) -> Int[Tensor, "B M P"]:
    """For each target token, as seen from the context: CROSS_ROI, CROSS_TIME or DOUBLE_CROSS.

    A region, or a time, counts as seen when the context has a token of it.
    """
    _, times = layout.grid
    seen = torch.ones_like(masks.context) if masks.context_valid is None else masks.context_valid.long()

    def hidden(of: Tensor, asked: Tensor, n: int) -> Tensor:
        count = torch.zeros(len(of), n, dtype=seen.dtype, device=of.device).scatter_add_(1, of, seen)
        return count.gather(1, asked.flatten(1)).view_as(asked) == 0

    other_roi = hidden(masks.context // times, masks.targets // times, layout.grid[0])
    other_time = hidden(masks.context % times, masks.targets % times, times)
    return torch.where(other_time, torch.where(other_roi, DOUBLE_CROSS, CROSS_TIME), CROSS_ROI)


class _Draws:
    """The sets of one step: its shared sizes, and what is drawn for each sample."""

    def __init__(self, config: RoiTimeConfig, layout: Layout, seed: int, step: int) -> None:
        self.config, self.seed, self.step = config, seed, step
        self.rois, self.times = layout.grid
        self.edge = edge_of(self.times, config)
        # 1 where the last start is left out, as by a bound that is exclusive where it should be inclusive.
        self.slip = int(config.compat == "official")
        u = [derive_seed(seed, "mask/size", step, i) * 2.0**-63 for i in range(4)]
        self.asked_rois = _count(self.rois, config.cross_roi_rois, u[0])
        self.asked_run = _count(self.times, config.cross_roi_times, u[1])
        self.seen_rois = _count(self.rois, config.seen_rois, u[2])
        # A run of targets lies inside the run that is seen.
        self.seen_run = max(self.asked_run, _count(self.times, config.seen_times, u[3]))

    def sets(self, rows: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Maps (B, R, T) of the context, and of the Cross-ROI, the late and the early targets."""
        n, t = self.rois, self.times
        u = uniform(self.seed, "mask/roi-time", self.step, rows, 4 * n + 2 * t + 6)
        keys, time_keys, u = u[:, : 4 * n].reshape(-1, 4, n), u[:, 4 * n : -6].reshape(-1, 2, t), u[:, -6:]
        first = self._start(u[:, 0], t - self.seen_run)
        run = self._run(first, self.seen_run)
        asked_run = self._run(first + self._start(u[:, 1], self.seen_run - self.asked_run), self.asked_run)
        asked = _lowest(keys[:, 1], self.asked_rois)
        seen = _lowest(keys[:, 0], self.seen_rois) & ~asked
        targets = [asked[:, :, None] & asked_run[:, None]]
        for side in range(2):
            share = _between(self.config.cross_time_rois, u[:, 2 + 2 * side])
            count = np.floor(t * _between(self.config.cross_time_times, u[:, 3 + 2 * side]))
            outside = np.arange(t) < t - self.edge if side == 0 else np.arange(t) >= self.edge
            hidden = _lowest(time_keys[:, side], np.minimum(count, self.edge), outside[None])
            rois = np.zeros_like(seen)
            for pool in (seen, ~seen):
                rois |= _lowest(keys[:, 2 + side], np.floor(pool.sum(1) * share), ~pool)
            targets.append(rois[:, :, None] & hidden[:, None])
            run &= ~hidden
        return seen[:, :, None] & run[:, None], targets

    def maps(self, rows: np.ndarray) -> tuple[Bool[np.ndarray, "B N"], Bool[np.ndarray, "B N"]]:
        """Maps of context and of all targets over the tokens."""
        context, targets = self.sets(rows)
        return context.reshape(len(rows), -1), np.logical_or.reduce(targets).reshape(len(rows), -1)

    def _start(self, u: np.ndarray, room: int) -> np.ndarray:
        return (u * max(1, room + 1 - self.slip)).astype(np.int64)

    def _run(self, first: np.ndarray, length: int) -> np.ndarray:
        at = np.arange(self.times) - first[:, None]
        return (at >= 0) & (at < length)


def _official(context: np.ndarray, targets: list[np.ndarray]) -> Masks:
    """Lists cut to the shortest of the batch by taking their first entries; a token may be asked for twice."""
    seen = [np.flatnonzero(one) for one in context]
    asked = [np.concatenate([np.flatnonzero(kind[b]) for kind in targets]) for b in range(len(context))]
    shortest, fewest = min(map(len, seen)), min(map(len, asked))
    return Masks(
        torch.from_numpy(np.stack([s[:shortest] for s in seen])),
        torch.from_numpy(np.stack([a[:fewest] for a in asked])[:, None]),
    )


def _between(bounds: tuple[float, float], u: np.ndarray | float) -> np.ndarray | float:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _count(n: int, bounds: tuple[float, float], u: float) -> int:
    return max(1, int(n * _between(bounds, u)))


def _least(n: int, bounds: tuple[float, float]) -> int:
    return _count(n, bounds, 0.0)


def _most(n: int, bounds: tuple[float, float]) -> int:
    """The largest count a draw below 1 can give."""
    return max(_least(n, bounds), math.ceil(n * bounds[1]) - 1)


def _lowest(
    keys: Float[np.ndarray, "B n"], count: int | np.ndarray, outside: Bool[np.ndarray, "_ n"] | None = None
) -> Bool[np.ndarray, "B n"]:
    """Maps of the ``count`` entries with the lowest keys, of those not ``outside``."""
    if outside is not None:
        keys = np.where(outside, 2.0, keys)
    ranks = keys.argsort(axis=1).argsort(axis=1)
    return ranks < np.reshape(count, (-1, 1))


def _some(
    allowed: Bool[np.ndarray, "B N"], keys: Float[np.ndarray, "B N"], count: int
) -> Int[np.ndarray, "B k"]:
    """Ascending positions of a random choice of ``count`` allowed entries of each row."""
    keys = np.where(allowed, keys, 2.0)
    return np.sort(np.argpartition(keys, count - 1, axis=1)[:, :count], axis=1)

"""Masks of electrodes: all channels inside a sphere around a random one are hidden (S-JEPA, arXiv 2403.11772, section 2.2).

The paper hides one sphere for the whole window. Its successor (arXiv 2609.33487) hides several spheres, each for some tokens of
time; ``blocks`` and ``length`` bring these. What is hidden in a sample depends on (seed, step, sample index) alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.randomness import uniform

SCALP = 0.75 * 4 * math.pi
"""Area of the scalp in squared head radii (the successor's code)."""


@dataclass(frozen=True)
class SphereConfig:
    """Size and number of the spheres."""

    diameter: float = 0.6
    """Diameter of a sphere as a share of the head's (paper: 0.4, 0.6 and 0.8 of the head size; no clear difference)."""
    head: float = 0.20
    """Diameter of the head in metres (measured on the paper's figure: 0.194 to 0.199; successor's code: radius 0.1)."""
    radius: float | None = None
    """Radius of a sphere in metres in place of ``diameter``; 0 hides the centre alone, inf all channels."""
    blocks: int | None = 1
    """Spheres per sample (paper: 1); None: as many as leave ``visible`` of the tokens on average (successor)."""
    length: int | None = None
    """Tokens of time each sphere lasts; None: all (paper). The successor recommends 2, with radius 0.09."""
    visible: float = 0.45
    """Expected visible share with ``blocks`` = None (successor)."""
    per_sample: bool = True
    """Other spheres for each sample, or the same for all samples of a step (the paper does not say)."""

    def __post_init__(self) -> None:
        if not self.diameter > 0 or not self.head > 0:
            raise ConfigError(
                f"masks.diameter and masks.head must be above 0, got {self.diameter} and {self.head}"
            )
        if self.radius is not None and not self.radius >= 0:
            raise ConfigError(f"masks.radius must be 0 or more metres, got {self.radius}")
        for name in ("blocks", "length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"masks.{name} must be at least 1, got {value}")
        if not 0 < self.visible < 1:
            raise ConfigError(f"masks.visible must lie between 0 and 1, got {self.visible}")

    @property
    def reach(self) -> float:
        """Radius of a sphere in metres."""
        return self.diameter * self.head / 2 if self.radius is None else self.radius

    def count(self, layout: Layout) -> int:
        """Spheres per sample on a layout of (channels, time).

        With ``blocks`` = None: ln(visible) / ln(1 - f), rounded up, where f is the share of the tokens that one sphere hides, by
        the area of the disc of its radius on the scalp (at least one channel).
        """
        if self.blocks is not None:
            return self.blocks
        channels, tokens = layout.grid
        disc = math.pi * self.reach**2 / (SCALP * (self.head / 2) ** 2)
        share = max(disc, 1 / channels) * min(self.length or tokens, tokens) / tokens
        return 1 if share >= 1 else math.ceil(math.log(self.visible) / math.log(1 - share))


def neighbours(places: Float[np.ndarray, "C 3"], radius: float) -> Bool[np.ndarray, "C C"]:
    """Which channels a sphere around each channel hides: those nearer than ``radius`` (strictly), and itself.

    A channel whose place is not known (NaN) is in no other's sphere.
    """
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    near = np.where(np.isnan(apart), np.inf, apart) < radius
    near |= math.isinf(radius) & np.isfinite(apart)
    return near | np.eye(len(places), dtype=bool)


def spheres(
    config: SphereConfig,
    layout: Layout,
    places: Float[np.ndarray, "C 3"],
    *,
    seed: int,
    step: int,
    index: ArrayLike,
) -> Masks:
    """Masks of a batch.

    Centres are drawn among the channels whose place is known. Should everything be hidden, the channel farthest from the first
    centre stays visible.

    Args:
        config: size and number of the spheres.
        layout: (channels, tokens of time).
        places: of the channels, in metres; NaN where unknown.
        seed, step: of the draw.
        index: (B,) sample indices.

    Returns:
        context (B, K), padded where ``context_valid`` is False; one target block (B, 1, P), in which shorter samples repeat
        their first target: see :func:`distinct`.

    Raises:
        ConfigError: fewer than two channels, or none with a known place.
    """
    channels, tokens = layout.grid
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    if channels < 2 or not len(known):
        raise ConfigError(
            f"spheres of electrodes need at least two channels and the place of at least one, got {channels} channels and "
            f"{len(known)} known places"
        )
    rows = np.atleast_1d(np.asarray(index))
    drawn = rows if config.per_sample else np.zeros_like(rows)
    count = config.count(layout)
    centre = known[(uniform(seed, "mask/centre", step, drawn, count) * len(known)).astype(np.int64)]
    length = min(config.length or tokens, tokens)
    start = (uniform(seed, "mask/start", step, drawn, count) * (tokens - length + 1)).astype(np.int64)
    hidden = np.zeros((len(rows), channels, tokens), dtype=bool)
    near, clock = neighbours(places, config.reach), np.arange(tokens)
    for k in range(count):
        lasting = (clock >= start[:, k, None]) & (clock < start[:, k, None] + length)
        hidden |= near[centre[:, k]][:, :, None] & lasting[:, None, :]
    everything = np.flatnonzero(hidden.all(axis=(1, 2)))
    apart = np.linalg.norm(places[centre[everything, 0], None] - places[None], axis=-1)
    hidden[everything, apart.argmax(axis=1)] = False
    return _indices(hidden.reshape(len(rows), -1))


def distinct(targets: Int[Tensor, "B M P"]) -> Bool[Tensor, "B M P"]:
    """True for each target the first time it stands in its block: padding of :func:`spheres` repeats the first one."""
    again = targets[..., 1:] <= targets[..., :-1]
    return (
        torch.cat((torch.ones_like(again[..., :1]), ~again), dim=-1)
        if targets.shape[-1] > 1
        else targets >= 0
    )


def _indices(hidden: Bool[np.ndarray, "B N"]) -> Masks:
    n = hidden.shape[1]
    order = np.argsort(hidden, axis=1, kind="stable")
    kept = n - hidden.sum(axis=1)
    context = order[:, : int(kept.max())]
    valid = np.arange(context.shape[1])[None] < kept[:, None]
    context = np.where(valid, context, 0)
    most = int(n - kept.min())
    behind = kept[:, None] + np.arange(most)[None]
    target = np.take_along_axis(order, np.where(behind < n, behind, kept[:, None]), axis=1)
    padding = None if valid.all() else torch.from_numpy(valid)
    return Masks(torch.from_numpy(context), torch.from_numpy(target[:, None]), padding)

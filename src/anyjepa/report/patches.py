"""Token features as colours: their first three principal components are red, green and blue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from anyjepa.contract import Method
from anyjepa.evaluation.features import untrained
from anyjepa.report.masks import grid_of
from anyjepa.report.pixels import Picture, enlarge, picture, spread_tokens
from anyjepa.report.samples import Samples

EDGES = (2.0, 98.0)
"""Percentiles of a component that become the darkest and the brightest value."""
AT_ONCE = 16
"""Images per forward pass."""


@dataclass(frozen=True)
class PatchCard:
    """One image and its maps."""

    image: Picture
    trained: Picture
    untrained: Picture
    caption: str


@dataclass(frozen=True)
class PatchSection:
    """All cards, and the share of the variance that three colours can show."""

    cards: tuple[PatchCard, ...]
    images: int
    trained_share: float
    untrained_share: float


def patch_section(method: Method, samples: Samples, seed: int) -> PatchSection:
    """Maps of the trained encoder beside those of the same one untrained, each with components of its own.

    Raises:
        DataError: the tokens do not lie in rows and columns.
    """
    grid = grid_of(method, samples.images)
    after, after_share = _colours(_tokens(method, samples))
    before, before_share = _colours(_tokens(untrained(method, seed).eval(), samples))
    cards = []
    for row, image in zip(samples.shown.tolist(), samples.pictures(), strict=True):
        size = enlarge(image).shape[:2]
        name = samples.name(int(samples.index[row]))
        maps = [picture(spread_tokens(c[row], grid, size), f"{name}: {w}") for c, w in (
            (after, "features of the trained encoder as colours"),
            (before, "features of the untrained encoder as colours"),
        )]
        cards.append(PatchCard(picture(image, name), maps[0], maps[1], name))
    return PatchSection(tuple(cards), len(samples.index), after_share, before_share)


@torch.no_grad()
def _tokens(method: Method, samples: Samples) -> Float[torch.Tensor, "S N D"]:
    return torch.cat([method.encode(part).tokens.float() for part in samples.images.split(AT_ONCE)])


def _colours(tokens: Float[torch.Tensor, "S N D"]) -> tuple[np.ndarray, float]:
    """Colours (S, N, 3) of the tokens, and the share of their variance in the three components."""
    flat = tokens.flatten(0, 1).double()
    centred = flat - flat.mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred)
    most = min(3, flat.shape[1])
    axes = directions[:, -most:].flip(1)
    # An axis and its opposite are equally good: the largest entry decides, so that a page comes out the same each time.
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    values = (centred @ axes).numpy()
    low, high = np.percentile(values, EDGES, axis=0)
    scaled = ((values - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    scaled = np.pad(scaled, ((0, 0), (0, 3 - most)))
    share = float(variances[-most:].sum() / variances.sum().clamp(min=1e-12))
    return (255 * scaled).round().astype(np.uint8).reshape(*tokens.shape[:2], 3), share

"""Token features as colours: their first three principal components are red, green and blue.

A token says where it lies as well as what is there, and in small models the place comes first. So the same is drawn of the
*content* too: what is left of a token when the mean over the images at its place is taken off.
"""

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
    """One image and its maps, each with its name."""

    image: Picture
    maps: tuple[tuple[str, Picture], ...]
    caption: str


@dataclass(frozen=True)
class PatchSection:
    """All cards, how many images the components were fitted on, and for each map the share of the variance it shows."""

    cards: tuple[PatchCard, ...]
    images: int
    shares: tuple[tuple[str, float], ...]


def patch_section(method: Method, samples: Samples, seed: int) -> PatchSection:
    """Maps of the trained encoder beside those of the same one untrained, each with components of its own.

    Raises:
        DataError: the tokens do not lie in rows and columns.
    """
    grid = grid_of(method, samples.inputs)
    after, before = tokens_of(method, samples), tokens_of(untrained(method, seed).eval(), samples)
    painted = {
        "trained": _colours(after),
        "untrained": _colours(before),
        "trained, content": _colours(after - after.mean(0)),
        "untrained, content": _colours(before - before.mean(0)),
    }
    cards = []
    for row, image in zip(samples.shown.tolist(), samples.pictures(), strict=True):
        size = enlarge(image).shape[:2]
        name = samples.name(int(samples.index[row]))
        maps = tuple(
            (what, picture(spread_tokens(values[row], grid, size), f"{name}: features as colours, {what}"))
            for what, (values, _) in painted.items()
        )
        cards.append(PatchCard(picture(image, name), maps, name))
    shares = tuple((what, share) for what, (_, share) in painted.items())
    return PatchSection(tuple(cards), len(samples.index), shares)


@torch.no_grad()
def tokens_of(method: Method, samples: Samples) -> Float[torch.Tensor, "S N D"]:
    """The tokens of all samples."""
    return torch.cat([method.encode(part).tokens.float() for part in samples.inputs.split(AT_ONCE)])


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

"""What the context encoder sees of an image, and which blocks are to be predicted from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from anyjepa.contract import Batch, Masks, Method
from anyjepa.errors import DataError
from anyjepa.report.pixels import PALETTE, Picture, enlarge, outline, picture, spread_tokens
from anyjepa.report.samples import Samples

HIDDEN = np.array([128, 128, 128])
"""Grey of the tokens the context encoder does not see."""
TINT = 0.45
"""Share of a block's colour in its pixels."""


@dataclass(frozen=True)
class MaskCard:
    """One image: as it is, what of it is context, and its target blocks."""

    image: Picture
    context: Picture
    targets: Picture
    caption: str


@dataclass(frozen=True)
class MaskSection:
    """All cards, and what they have in common."""

    cards: tuple[MaskCard, ...]
    summary: str


def grid_of(method: Method, images: torch.Tensor) -> tuple[int, int]:
    """Rows and columns of the tokens.

    Raises:
        DataError: they do not lie in rows and columns.
    """
    grid = method.encode(images[:1]).layout.grid
    if len(grid) != 2:
        raise DataError(f"maps are drawn of tokens in rows and columns, those of this method lie as {grid}")
    return grid[0], grid[1]


@torch.no_grad()
def mask_section(method: Method, samples: Samples, seed: int) -> MaskSection:
    """The masks of step 0, drawn over the images that are shown.

    Raises:
        DataError: the method hides nothing, or its tokens do not lie in rows and columns.
    """
    rows = samples.shown
    output = method(Batch(samples.inputs[rows], torch.from_numpy(samples.index[rows]), step=0, seed=seed))
    masks = output.masks
    if masks is None:
        raise DataError(
            "this method predicts no hidden tokens: there are no masks in its output to draw. If it compares views of an image, "
            "they are not in its output either"
        )
    grid = grid_of(method, samples.inputs)
    pictures = samples.pictures()
    seen = [_context(masks, i) for i in range(len(rows))]
    cards = tuple(
        _card(pictures[i], samples.name(int(samples.index[row])), seen[i], masks.targets[i].numpy(), grid)
        for i, row in enumerate(rows.tolist())
    )
    blocks, tokens = masks.targets.shape[1:]
    share = float(np.mean([len(s) for s in seen])) / (grid[0] * grid[1])
    return MaskSection(
        cards,
        f"Images are cut into {grid[0]} x {grid[1]} tokens. The context encoder sees {share:.0%} of them on average; from "
        f"these {blocks} {'block is' if blocks == 1 else 'blocks are'} predicted, each of {tokens} "
        f"{'token' if tokens == 1 else 'tokens'}.",
    )


def _context(masks: Masks, i: int) -> np.ndarray:
    tokens = masks.context[i]
    return (tokens if masks.context_valid is None else tokens[masks.context_valid[i]]).numpy()


def _card(
    image: np.ndarray, name: str, context: np.ndarray, targets: np.ndarray, grid: tuple[int, int]
) -> MaskCard:
    large = enlarge(image)
    size = (large.shape[0], large.shape[1])
    visible = np.zeros(grid[0] * grid[1], dtype=bool)
    visible[context] = True
    kept = np.where(spread_tokens(visible, grid, size)[..., None], large, HIDDEN).astype(np.uint8)
    # The blocks stand out from a paler picture.
    painted = 0.5 * large + 0.5 * large.mean(axis=2, keepdims=True)
    regions = []
    for number, block in enumerate(targets):
        inside = np.zeros(grid[0] * grid[1], dtype=bool)
        inside[block] = True
        regions.append((spread_tokens(inside, grid, size), PALETTE[number % len(PALETTE)]))
    for region, colour in regions:
        painted[region] = (1 - TINT) * painted[region] + TINT * colour
    for region, colour in regions:
        painted[outline(region, max(2, max(size) // 60))] = colour
    blocks, each = targets.shape
    return MaskCard(
        picture(image, name),
        picture(kept, f"{name}: {len(context)} of {len(visible)} tokens are context"),
        picture(painted.round().astype(np.uint8), f"{name}: {blocks} target blocks of {each} tokens"),
        name,
    )

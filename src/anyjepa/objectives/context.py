"""The loss at tokens that were seen, by which these stay local (V-JEPA 2.1, arXiv 2603.14482, section 3)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.contract import Layout, Masks


def nearest_target(masks: Masks, layout: Layout) -> Float[Tensor, "B K"]:
    """Distance of each context token to the nearest target token, in steps of the grid.

    Args:
        masks: context and targets, all blocks of a sample together.
        layout: how the tokens lie.
    """
    axes = np.meshgrid(*[np.arange(n) for n in layout.grid], indexing="ij")
    places = (
        torch.from_numpy(np.stack([axis.ravel() for axis in axes], axis=1)).float().to(masks.context.device)
    )
    return torch.cdist(places[masks.context], places[masks.targets.flatten(1)]).amin(dim=2)


def context_loss(
    seen: Float[Tensor, "B K E"], target: Float[Tensor, "B K E"], far: Float[Tensor, "B K"]
) -> Float[Tensor, ""]:
    """Mean absolute difference at context tokens, each over the square root of its distance to the nearest target.

    Args:
        seen: what the predictor says of the context tokens.
        target: what the target encoder says of them.
        far: from :func:`nearest_target`.
    """
    return ((seen.float() - target.float()).abs().mean(dim=2) / far.sqrt()).mean()

"""Labels of a clip's first frame carried through it by likeness of patches: the protocol of DAVIS for features without training.

Jabri, Owens, Efros: Space-Time Correspondence as a Contrastive Random Walk, 2020; with the constants of DINO (arXiv 2104.14294).
A patch takes the labels of the patches most like it in the first frame and in the latest ones, of those that lie near it.

Scores: J, the intersection over union of each object, and F, how well its outline is met (Perazzi et al., CVPR 2016).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyjepa.data.masked import IGNORE
from anyjepa.errors import ConfigError
from anyjepa.evaluation.segmentation import patch_shares

TOLERANCE = 0.008
"""How far an outline may be off, as a share of the diagonal."""


@dataclass(frozen=True)
class PropagationConfig:
    """Constants of DINO's evaluation on DAVIS at 480 pixels and 8 pixels per patch."""

    frames: int = 7
    """Latest frames whose labels are passed on, beside the first."""
    radius: int = 12
    """Patches by which a match may lie off, down and across."""
    neighbours: int = 5
    """Most similar patches whose labels are taken."""
    temperature: float = 0.1
    """Of the softmax over their cosines."""
    rescale: bool = True
    """Stretch each label's map to 0..1 before the largest is taken, so that small things are not drowned."""

    def __post_init__(self) -> None:
        if min(self.frames, self.radius) < 0 or self.neighbours < 1 or self.temperature <= 0:
            raise ConfigError(
                f"frames and radius are at least 0, neighbours at least 1, temperature above 0; got {self}"
            )


@torch.no_grad()
def propagate(
    tokens: Float[Tensor, "T N D"],
    grid: tuple[int, int],
    first: Int[np.ndarray, "H W"],
    config: PropagationConfig | None = None,
) -> Int[np.ndarray, "T H W"]:
    """Labels of every pixel of every frame, from those of the first.

    Args:
        tokens: features of the patches of each frame.
        grid: how they lie.
        first: labels 0..K-1 of the first frame; 255 is taken as 0.
        config: how.

    Returns:
        The first frame's labels as they were, and what was made of them.
    """
    c = config or PropagationConfig()
    labels = np.where(first == IGNORE, 0, first)
    classes = int(labels.max()) + 1
    x = F.normalize(tokens.float(), dim=-1)
    soft = torch.from_numpy(patch_shares(labels[None], grid, classes)[0]).to(x)
    near = _near(grid, c.radius).to(x.device)
    known: deque[tuple[Tensor, Tensor]] = deque(maxlen=c.frames)
    told = [labels]
    for frame in range(1, len(x)):
        context = [(x[0], soft), *known]
        likes = [(x[frame] @ other.T).masked_fill(~near, -torch.inf) for other, _ in context]
        # (N, S N): each patch of this frame with all patches of the context.
        like, place = torch.cat(likes, 1).topk(min(c.neighbours, int(near.sum(1).min()) * len(context)), 1)
        weight = (like / c.temperature).softmax(1)
        passed = (weight.unsqueeze(-1) * torch.cat([s for _, s in context])[place]).sum(1)
        known.append((x[frame], passed))
        told.append(_pixels(passed, grid, labels.shape, c.rescale))
    return np.stack(told)


def _near(grid: tuple[int, int], radius: int) -> Bool[Tensor, "N N"]:
    row, column = (axis.flatten() for axis in torch.meshgrid(*(torch.arange(g) for g in grid), indexing="ij"))
    return ((row[:, None] - row).abs() <= radius) & ((column[:, None] - column).abs() <= radius)


def _pixels(soft: Tensor, grid: tuple[int, int], size: tuple[int, ...], rescale: bool) -> np.ndarray:
    maps = F.interpolate(soft.T.unflatten(1, grid)[None], size, mode="bilinear", align_corners=False)[0]
    if rescale:
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        # A label that is nowhere is not stretched to be somewhere.
        maps = torch.where(high > 1e-3, (maps - low) / (high - low).clamp(min=1e-12), maps)
    return maps.argmax(0).cpu().numpy()


def jaccard(truth: Bool[np.ndarray, "H W"], told: Bool[np.ndarray, "H W"]) -> float:
    """Intersection over union; 1 where both are empty."""
    union = (truth | told).sum()
    return float((truth & told).sum() / union) if union else 1.0


def outline_f(truth: Bool[np.ndarray, "H W"], told: Bool[np.ndarray, "H W"]) -> float:
    """Harmonic mean of precision and recall of the outline's pixels, met within :data:`TOLERANCE`; 1 where both are empty."""
    reach = math.ceil(TOLERANCE * math.hypot(*truth.shape))
    a, b = _outline(truth), _outline(told)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    precision = (b & _widened(a, reach)).sum() / b.sum()
    recall = (a & _widened(b, reach)).sum() / a.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _outline(inside: np.ndarray) -> np.ndarray:
    """Pixels that differ from the one to the right, below, or both."""
    padded = np.pad(inside, ((0, 1), (0, 1)), mode="edge")
    return (inside != padded[:-1, 1:]) | (inside != padded[1:, :-1]) | (inside != padded[1:, 1:])


def _widened(line: np.ndarray, reach: int) -> np.ndarray:
    step = np.arange(-reach, reach + 1)
    disc = torch.from_numpy(step[:, None] ** 2 + step**2 <= reach**2).float()[None, None]
    return (F.conv2d(torch.from_numpy(line).float()[None, None], disc, padding=reach)[0, 0] > 0.5).numpy()


def clip_scores(truth: Int[np.ndarray, "T H W"], told: Int[np.ndarray, "T H W"]) -> dict[str, float]:
    """``j`` and ``f``, means over the objects of the first frame and over all later frames, and ``jf``, their mean.

    Label 0 is the background and no object; pixels of 255 count for nothing.
    """
    objects = [k for k in np.unique(truth[0]).tolist() if k not in (0, IGNORE)]
    j, f = [], []
    for k in objects:
        for t in range(1, len(truth)):
            counted = truth[t] != IGNORE
            a, b = (truth[t] == k) & counted, (told[t] == k) & counted
            j.append(jaccard(a, b))
            f.append(outline_f(a, b))
    if not j:
        return {"j": math.nan, "f": math.nan, "jf": math.nan}
    return {"j": float(np.mean(j)), "f": float(np.mean(f)), "jf": float(np.mean(j) + np.mean(f)) / 2}

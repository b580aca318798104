"""Patches in groups of similar features: k-means over all tokens of some images, drawn beside each image.

What is grouped is the content of a token: what is left when the mean over the images at its place is taken off, at length 1.
Groups that follow things, and are the same thing in the next image, are what dense tasks can build on.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from anyjepa.contract import Method
from anyjepa.evaluation.features import untrained
from anyjepa.randomness import derive_seed
from anyjepa.report.figures import FigureSection
from anyjepa.report.masks import grid_of
from anyjepa.report.patches import tokens_of
from anyjepa.report.pixels import PALETTE, enlarge, picture, spread_tokens
from anyjepa.report.samples import Samples

GROUPS = 6
FITTED_ON = 20_000
"""Most tokens k-means is fitted on."""
GAP = 8


def group_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Each image beside its groups by the trained encoder and by the same one untrained.

    Raises:
        DataError: the tokens do not lie in rows and columns.
    """
    grid = grid_of(method, samples.inputs)
    found = [
        grouped(tokens_of(encoder, samples), seed) for encoder in (method, untrained(method, seed).eval())
    ]
    figures = []
    for row, image in zip(samples.shown.tolist(), samples.pictures(), strict=True):
        large = enlarge(image)
        size = (large.shape[0], large.shape[1])
        gap = np.full((size[0], GAP, 3), 255, np.uint8)
        parts = [large]
        for groups in found:
            parts += [gap, PALETTE[spread_tokens(groups[row], grid, size)].astype(np.uint8)]
        name = samples.name(int(samples.index[row]))
        alt = f"{name}: its patches in groups, by the trained and by the untrained encoder"
        strip = np.concatenate(parts, axis=1)
        figures.append((picture(strip, alt, largest=strip.shape[1]), f"{name}: image, trained, untrained"))
    return FigureSection(
        f"The patches of {len(samples.index)} images in {GROUPS} groups by k-means of the content of their features, one colour "
        "per group: the image, the groups of the trained encoder, those of the same one untrained (colours of the two have "
        "nothing to do with each other). Look for groups that follow things and are the same thing in other images.",
        tuple(figures),
    )


def grouped(tokens: Float[Tensor, "S N D"], seed: int, groups: int = GROUPS) -> Int[np.ndarray, "S N"]:
    """The group of each token, numbered by size, the largest 0.

    Args:
        tokens: features.
        seed: of the first centres, and of the tokens that are fitted on.
        groups: their number; fewer where there are fewer tokens.
    """
    from sklearn.cluster import KMeans

    content = F.normalize(tokens - tokens.mean(0), dim=-1).flatten(0, 1).numpy()
    draw = derive_seed(seed, "report/groups") % 2**32
    chosen = np.random.default_rng(draw).permutation(len(content))[:FITTED_ON]
    different = len(np.unique(content[chosen].round(6), axis=0))
    model = KMeans(min(groups, different), n_init=4, random_state=draw).fit(content[np.sort(chosen)])
    labels = model.predict(content)
    rank = np.argsort(np.argsort(-np.bincount(labels, minlength=model.n_clusters), kind="stable"))
    return rank[labels].reshape(tokens.shape[:2]).astype(np.int64)

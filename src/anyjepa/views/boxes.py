"""Where a crop lies: random and centred boxes for images of any sizes.

Every draw is a pure function of (seed, purpose, step, sample).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from anyjepa.randomness import uniform

Integers = np.ndarray | Sequence[int]
"""(B,) whole numbers, one per sample."""

TRIES = 10
"""Crops drawn before the centre crop is taken; of torchvision's RandomResizedCrop, which I-JEPA uses."""


def crop_boxes(
    seed: int,
    step: int,
    index: Integers,
    heights: Integers,
    widths: Integers,
    scale: tuple[float, float] = (0.3, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    purpose: str = "data/crop",
) -> Int[np.ndarray, "B 4"]:
    """Random crops as rows (top, left, height, width) in pixels, all inside their images.

    The area is uniform in ``scale`` times the image's, the logarithm of width/height uniform in that of
    ``aspect``; the first of 10 draws that fits is taken, else the largest centred crop of an allowed aspect.

    Args:
        seed: seed of the run.
        step: optimizer step.
        index: (B,) sample indices.
        heights: (B,) image heights.
        widths: (B,) image widths.
        scale: least and largest share of the area.
        aspect: least and largest width/height.
        purpose: what the crops are for; crops of two purposes are independent.
    """
    draws = uniform(seed, purpose, step, np.asarray(index), 2 * TRIES + 2)
    height, width = (np.asarray(side, dtype=np.int64) for side in (heights, widths))
    area = (height * width)[:, None] * (scale[0] + draws[:, :TRIES] * (scale[1] - scale[0]))
    low, high = np.log(aspect)
    ratio = np.exp(low + draws[:, TRIES : 2 * TRIES] * (high - low))
    widths_tried = np.rint(np.sqrt(area * ratio)).astype(np.int64)
    heights_tried = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (widths_tried > 0) & (widths_tried <= width[:, None])
    fits &= (heights_tried > 0) & (heights_tried <= height[:, None])
    rows, first, found = np.arange(len(height)), fits.argmax(axis=1), fits.any(axis=1)

    centred = centre_boxes(height, width, np.clip(width / height, aspect[0], aspect[1]))
    h = np.where(found, heights_tried[rows, first], centred[:, 2])
    w = np.where(found, widths_tried[rows, first], centred[:, 3])
    top = np.where(found, np.floor(draws[:, -2] * (height - h + 1)), centred[:, 0])
    left = np.where(found, np.floor(draws[:, -1] * (width - w + 1)), centred[:, 1])
    return np.stack([top, left, h, w], axis=1).astype(np.int64)


def centre_boxes(heights: Integers, widths: Integers, aspect: float | np.ndarray) -> Int[np.ndarray, "B 4"]:
    """The largest centred crops of width/height ``aspect``, as rows (top, left, height, width)."""
    height, width = (np.asarray(side, dtype=np.int64) for side in (heights, widths))
    h = np.clip(np.rint(width / aspect), 1, height).astype(np.int64)
    w = np.clip(np.rint(height * aspect), 1, width).astype(np.int64)
    return np.stack([(height - h) // 2, (width - w) // 2, h, w], axis=1)

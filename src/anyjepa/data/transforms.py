"""Random resized crops and centre crops of whole batches.

The augmentation of I-JEPA (arXiv 2301.08243, official configs): a crop of random area and aspect, resized
with an antialiased bilinear filter; no flip, no colour change, no blur. Every draw is a pure function of
(seed, step, sample).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from anyjepa.randomness import uniform
from anyjepa.views.boxes import Integers, centre_boxes

_SMALL = 32  # sides up to which matrix products beat one interpolation per image (measured)


def flips(seed: int, step: int, index: Integers) -> Bool[np.ndarray, "B"]:
    """Which samples are mirrored left to right: each with probability 1/2."""
    return uniform(seed, "data/flip", step, np.asarray(index), 1)[:, 0] < 0.5


def resize_centre(images: Sequence[Tensor], size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """The middle of every image at ``size`` (height, width): shorter side resized, longer cut. 0..255."""
    if all(image.shape[1:] == size for image in images):
        # Every filter would have the one weight 1: the same values, at a tenth of the cost.
        out = np.empty((len(images), images[0].shape[0], *size), dtype=np.float32)
        for row, image in enumerate(images):
            np.multiply(image.numpy(), 1 if image.dtype == torch.uint8 else 255, out=out[row])
        return torch.from_numpy(out)
    heights, widths = [image.shape[1] for image in images], [image.shape[2] for image in images]
    return crop_resize(images, centre_boxes(heights, widths, size[1] / size[0]), size)


def crop_resize(
    images: Sequence[Tensor], boxes: Int[np.ndarray, "B 4"], size: tuple[int, int]
) -> Float[Tensor, "B C H W"]:
    """Cut and resize with torch's antialiased bilinear filter.

    Which of two equal computations is used depends on each image's own size alone, so a sample comes out the
    same in whatever company it is drawn.

    Args:
        images: B tensors (C, h, w), uint8 in 0..255 or floats in 0..1, of any sizes.
        boxes: (B, 4) rows (top, left, height, width).
        size: height and width of the result.

    Returns:
        float32, 0 is black and 255 is white.
    """
    # Plain NumPy around the resize: torch would start its threads for a millisecond of work and wait for them
    # on a busy machine.
    out = np.empty((len(images), images[0].shape[0], *size), dtype=np.float32)
    alike: dict[tuple[torch.dtype, torch.Size], list[int]] = {}
    for row, image in enumerate(images):
        # torch 2.13 leaves the rows unfiltered in results one pixel wide, so those are computed here at any
        # size.
        if max(*image.shape[1:], *size) <= _SMALL or size[1] == 1:
            alike.setdefault((image.dtype, image.shape), []).append(row)
            continue
        top, left, h, w = boxes[row].tolist()
        crop = image[None, :, top : top + h, left : left + w].float()
        out[row] = F.interpolate(crop, size, mode="bilinear", antialias=True)[0].numpy()
        if image.dtype != torch.uint8:
            out[row] *= 255
    for (dtype, _), rows in alike.items():
        stack = np.stack([images[row].permute(1, 2, 0).numpy() for row in rows]).astype(np.float32)
        if dtype != torch.uint8:
            stack *= 255
        out[rows] = _matrix_resize(stack, boxes[rows], size)
    return torch.from_numpy(out)


def _matrix_resize(stack: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # (B, h, w, C) -> (B, C, H, W). NumPy's product and not torch's: it takes the matrices one by one, so that
    # neither the batch nor the number of threads nor torch's float32 precision setting changes a bit.
    count, h, w, c = stack.shape
    rows = _filter(boxes[:, 0], boxes[:, 2], h, size[0]) @ stack.reshape(count, h, w * c)
    rows = rows.reshape(count, size[0], w, c).transpose(0, 3, 1, 2).reshape(count, c * size[0], w)
    columns = _filter(boxes[:, 1], boxes[:, 3], w, size[1]).transpose(0, 2, 1)
    return (rows @ columns).reshape(count, c, *size)


def _filter(start: np.ndarray, length: np.ndarray, pixels: int, size: int) -> np.ndarray:
    # (B, size, pixels): triangle filters over the crop start..start+length, as wide as the resize shrinks.
    start, length = start[:, None].astype(np.float32), length[:, None].astype(np.float32)
    step = length / size
    centre = (np.arange(size, dtype=np.float32) + 0.5) * step
    position = np.arange(pixels, dtype=np.float32) + 0.5 - start
    weight = 1 - np.abs(position[:, None, :] - centre[:, :, None]) / np.maximum(step, 1)[:, :, None]
    weight = np.maximum(weight, 0) * ((position > 0) & (position < length))[:, None, :]
    return weight / weight.sum(axis=-1, keepdims=True)

"""Speckle of radar images: intensities times gamma draws of mean 1, fewer looks the stronger; and averaging it away."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.randomness import derive_seed


def speckled(amplitude: Float[Tensor, "C H W"], looks: float, seed: int) -> Float[Tensor, "C H W"]:
    """Amplitudes times the square root of gamma draws with mean 1 and variance 1 / looks, cut at 1.

    Args:
        amplitude: in 0..1.
        looks: L; 1 is the speckle of a single look, many looks leave the image as it is.
        seed: names the draw.
    """
    draws = np.random.Generator(np.random.Philox(seed)).gamma(looks, 1.0 / looks, tuple(amplitude.shape))
    return (amplitude * torch.from_numpy(np.sqrt(draws).astype(np.float32))).clamp(max=1.0)


def speckled_alike(images: Sequence[Tensor], looks: float) -> list[Tensor]:
    """Speckle for tests, drawn by the pixels themselves: an image gets the same one whenever and with whomever it is read."""
    seeds = [derive_seed(zlib.crc32(image.numpy().tobytes()), "data/test-speckle") for image in images]
    return [speckled(image, looks, seed) for image, seed in zip(map(unit, images), seeds, strict=True)]


def unit(image: Tensor) -> Float[Tensor, "C H W"]:
    """Stored pixels in 0..1."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def multilook(amplitude: Float[np.ndarray, "H W"], looks: int) -> Float[np.ndarray, "h w"]:
    """Root of the mean intensity of blocks of ``looks`` x ``looks`` pixels; what is left over at the edges is dropped."""
    height, width = (side // looks * looks for side in amplitude.shape)
    blocks = amplitude[:height, :width].reshape(height // looks, looks, width // looks, looks)
    return np.sqrt(np.square(blocks, dtype=np.float64).mean(axis=(1, 3))).astype(np.float32)

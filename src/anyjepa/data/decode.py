"""Encoded image bytes to tensors: any mode Pillow reads, brought to 1 or 3 channels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from anyjepa.errors import DataError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
"""File name endings taken as images."""

_GREY = frozenset({"1", "L", "LA", "La", "I", "F"})


def is_grey(data: Any) -> bool | None:
    """Whether an image is stored without colour, read from its header alone; None when it cannot be opened.

    Args:
        data: path of a file, or its bytes.
    """
    try:
        with _open(data) as image:
            return image.mode in _GREY or image.mode.startswith("I;16")
    except Exception:  # decoders fed with broken bytes raise anything
        return None


def decode(data: Any, channels: int, name: str) -> Shaped[Tensor, "C H W"]:
    """The first frame of an encoded image.

    Args:
        data: path of a file, or its bytes (any buffer).
        channels: 1 (grey) or 3 (colour). Transparency is dropped, as everywhere in the field.
        name: what to call the image in an error.

    Returns:
        uint8 in 0..255; float32 in 0..1 for 16-bit images, float32 as stored for floating point images.

    Raises:
        DataError: the bytes are not a whole image, or one so large that it must be a decompression bomb.
    """
    try:
        with _open(data) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise DataError(
                    f"{image.width} x {image.height} pixels are more than the safe limit of {limit}"
                )
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                deep = torch.from_numpy(_deep(image))[None]
                return deep.expand(channels, -1, -1)
            pixels = np.array(_eight_bit(image, channels))
    except Exception as error:  # decoders fed with broken bytes raise anything
        raise DataError(f"cannot read image {name}: {error}") from error
    return torch.from_numpy(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1))


def _open(data: Any) -> Image.Image:
    return Image.open(data if isinstance(data, Path) else io.BytesIO(data))


def _eight_bit(image: Image.Image, channels: int) -> Image.Image:
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode:
        return image
    # A palette may hold transparency per colour, which Pillow converts through RGBA only.
    return (image.convert("RGBA") if image.mode == "P" else image).convert(mode)


def _deep(image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.float32)
    if image.mode == "F":
        if not np.isfinite(values).all():
            raise DataError("it holds values that are not finite")
        return values
    # Pillow's mode "I" is 32 bits wide but mostly carries 16-bit files; anything beyond has no known white.
    if values.min() < 0 or values.max() > 65535:
        raise DataError("32-bit integers have no known range; store 8 or 16 bits, or floats in 0..1")
    return values / 65535

"""Encoded image bytes to tensors: any mode Pillow reads, brought to 1 or 3 channels, and any number of bands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from anyjepa.data.bands import is_tiff, read_bands, tiff_bands
from anyjepa.data.files import regular
from anyjepa.data.formats import open_image
from anyjepa.errors import DataError, MissingExtraError

ORDINARY_CHANNELS = (1, 3)
"""Channel counts any image can be brought to: grey and colour."""
_GREY = frozenset({"1", "L", "LA", "La", "I", "F"})


def stored_channels(data: Any) -> int | None:
    """Channels an image asks for, read from its header alone: 1 grey, 3 colour, more for a TIFF of many bands.

    Args:
        data: path of a file, or its bytes.

    Returns:
        None when it cannot be opened.
    """
    try:
        if isinstance(data, Path):
            regular(data)
        if is_tiff(data) and (bands := tiff_bands(data) or 0) > 4:
            return bands
        with open_image(data) as image:
            return 1 if image.mode in _GREY or image.mode.startswith("I;16") else 3
    except Exception:  # decoders fed with broken bytes raise anything
        return None


def decode(data: Any, channels: int, name: str, max_pixels: int | None = None) -> Shaped[Tensor, "C H W"]:
    """The first frame of an encoded image.

    Args:
        data: path of a file, or its bytes (any buffer).
        channels: 1 (grey) or 3 (colour); transparency is dropped, as everywhere in the field. Another number: the
            image must have as many bands, or be a TIFF of as many grey pages.
        name: what to call the image in an error.
        max_pixels: refuse images of more pixels; None: Pillow's limit, 89 million.

    Returns:
        uint8 in 0..255; float32 in 0..1 for 16-bit images, float32 as stored for floating point images.

    Raises:
        DataError: the bytes are not a whole image, or one so large that it must be a decompression bomb.
        MissingExtraError: a TIFF of many bands, and tifffile is not installed.
    """
    try:
        limit = pixel_limit(max_pixels)
        if isinstance(data, Path):
            regular(data)
        if channels not in ORDINARY_CHANNELS:
            return torch.from_numpy(in_range(read_bands(data, channels, limit)))
        with open_image(data) as image:
            if image.width * image.height > limit:
                raise DataError(
                    f"{image.width} x {image.height} pixels are more than the safe limit of {limit}"
                )
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                deep = torch.from_numpy(_deep(image))[None]
                return deep.expand(channels, -1, -1)
            pixels = np.array(_eight_bit(image, channels))
    except MissingExtraError:
        raise
    except Exception as error:  # decoders fed with broken bytes raise anything
        raise DataError(f"cannot read image {name}: {error or type(error).__name__}") from error
    return torch.from_numpy(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1))


def in_range(pixels: np.ndarray) -> np.ndarray:
    """Stored numbers as images hold them: uint8 as it is, uint16 as floats in 0..1, floats as they are.

    Raises:
        DataError: another type, or values that are not finite.
    """
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind != "f" and (pixels.dtype.kind, pixels.dtype.itemsize) != ("u", 2):
        raise DataError(f"it holds {pixels.dtype}; images are uint8, uint16 or floats in 0..1")
    values = pixels.astype(np.float32)
    if pixels.dtype.kind == "u":
        values /= 65535
    if not np.isfinite(values).all():
        raise DataError("it holds values that are not finite")
    return values


def pixel_limit(max_pixels: int | None) -> int:
    """The largest number of pixels of one image: the user's, or Pillow's, which a larger wish raises."""
    pillows = Image.MAX_IMAGE_PIXELS
    if max_pixels is None:
        return pillows or sys.maxsize
    # Pillow has one limit per process and refuses before we are asked; it is only ever raised, on the user's word.
    if pillows is not None and max_pixels > pillows:
        Image.MAX_IMAGE_PIXELS = max_pixels
    return max_pixels


def _eight_bit(image: Image.Image, channels: int) -> Image.Image:
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode:
        return image
    # A palette may hold transparency per colour, which Pillow converts through RGBA only.
    return (image.convert("RGBA") if image.mode == "P" else image).convert(mode)


def _deep(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if image.mode == "F":
        return in_range(values)
    # Pillow's mode "I" is 32 bits wide but mostly carries 16-bit files; anything beyond has no known white.
    if values.min() < 0 or values.max() > 65535:
        raise DataError("32-bit integers have no known range; store 8 or 16 bits, or floats in 0..1")
    return in_range(values.astype(np.uint16))

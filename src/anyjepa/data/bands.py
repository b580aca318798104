"""Images of any number of channels: multi-band or multi-page TIFF, and files with transparency."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data.formats import open_image
from anyjepa.errors import DataError, MissingExtraError

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff(data: Any) -> bool:
    """Whether the first bytes are those of a TIFF file."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            return file.read(4) in _TIFF
    return bytes(memoryview(data)[:4]) in _TIFF


def tiff_bands(data: Any) -> int | None:
    """Samples per pixel of a TIFF file; None when the extra that reads them is not installed."""
    try:
        with _open(data) as file:
            return int(file.pages[0].samplesperpixel)
    except MissingExtraError:
        return None


def read_bands(data: Any, channels: int, max_pixels: int) -> np.ndarray:
    """The (C, H, W) bands of an image, as stored.

    Args:
        data: path of a file, or its bytes.
        channels: C. A TIFF has them as samples of its first page, or as as many pages of one sample each; other
            formats as Pillow's bands (RGBA is 4, grey with transparency 2).
        max_pixels: largest width times height.

    Raises:
        DataError: the image has another number of channels, or is too large.
        MissingExtraError: a TIFF, and tifffile is not installed.
    """
    if not is_tiff(data):
        return _pillow_bands(data, channels, max_pixels)
    with _open(data) as file:
        first = file.pages[0]
        samples = int(first.samplesperpixel)
        if int(first.imagewidth) * int(first.imagelength) > max_pixels or int(first.imagedepth) > 1:
            raise DataError(f"{first.shape} pixels are more than the safe limit of {max_pixels}")
        if samples == channels > 1:
            array = _page(first)
            return array if first.planarconfig == 2 else array.transpose(2, 0, 1)
        if samples == 1 and len(file.pages) == channels:
            pages = list(file.pages)
            if len({(page.shape, page.dtype) for page in pages}) == 1:
                return np.stack([_page(page) for page in pages])
        raise DataError(
            f"it has {samples} samples per pixel and {len(file.pages)} pages; expected {channels} of one of them"
        )


def _page(page: Any) -> np.ndarray:
    expected = int(page.imagelength) * int(page.imagewidth) * int(page.samplesperpixel)
    if page.size != expected:
        raise DataError(f"a page of shape {page.shape} is not an image")
    return page.asarray(maxworkers=1)


def _pillow_bands(data: Any, channels: int, max_pixels: int) -> np.ndarray:
    with open_image(data) as image:
        if image.width * image.height > max_pixels:
            raise DataError(
                f"{image.width} x {image.height} pixels are more than the safe limit of {max_pixels}"
            )
        if len(image.getbands()) != channels or image.mode == "P":
            raise DataError(f"it is {image.mode} with {len(image.getbands())} channels, expected {channels}")
        pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _open(data: Any) -> Any:
    try:
        from tifffile import TiffFile
    except ImportError as error:
        raise MissingExtraError("tifffile", "tiff") from error
    return TiffFile(data if isinstance(data, Path) else io.BytesIO(data))

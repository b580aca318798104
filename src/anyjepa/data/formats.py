"""Which formats of images are opened at all."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

from PIL import Image

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
"""File name endings taken as images."""

FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
"""What the bytes may be, whatever the ending says. Others stay closed: PostScript, for one, is a program that Pillow
hands to Ghostscript."""


def open_image(data: Any) -> Image.Image:
    """An image whose header is read and whose pixels are not; raises what Pillow raises.

    Args:
        data: path of a file, or its bytes (any buffer).
    """
    return Image.open(data if isinstance(data, Path) else io.BytesIO(data), formats=_available())


@functools.cache
def _available() -> tuple[str, ...]:
    # Pillow is built with more or fewer of them.
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)

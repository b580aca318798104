"""Pixels of a page: normalised tensors back to colours, maps of tokens over them, and pictures as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from anyjepa.normalisation import constants

SMALL = 96
"""Sides below which a picture is kept as it is (PNG) and enlarged by the browser, pixel by pixel."""
DRAWN = 160
"""Side a small picture is enlarged to before something is drawn on it."""
LARGEST = 224
"""Side a large picture is shrunk to."""
JPEG_QUALITY = 85

PALETTE = np.array(
    [
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [213, 94, 0],
        [204, 121, 167],
        [0, 114, 178],
    ]
)
"""Colours that can be told apart by people who see colours differently (Okabe and Ito), as RGB."""

ERROR_STOPS = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
ERROR_COLOURS = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]])
"""From blue over white to red; white is 1."""


@dataclass(frozen=True)
class Picture:
    """An image of the page."""

    uri: str
    alt: str
    width: int
    height: int
    pixelated: bool


def colours(images: Float[Tensor, "B C H W"], config: Any) -> UInt8[np.ndarray, "B H W 3"]:
    """Images normalised by the ``mean`` and ``std`` of a config, as people see them.

    One channel is grey; of other numbers the first three, or the first, are shown.
    """
    mean, std = (np.array(v, np.float32) for v in constants(images.shape[1], config.mean, config.std))
    values = images.numpy().transpose(0, 2, 3, 1) * std + mean
    values = values[..., :3] if values.shape[-1] >= 3 else np.repeat(values[..., :1], 3, axis=-1)
    return (255 * values.clip(0, 1)).round().astype(np.uint8)


def enlarge(picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """A small picture with every pixel repeated, up to about :data:`DRAWN`."""
    times = max(1, DRAWN // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def spread_tokens(values: np.ndarray, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Values (N, ...) of tokens as a map (H, W, ...): every pixel gets that of the token it lies in."""
    rows, columns = ((np.arange(s) * g) // s for s, g in zip(size, grid, strict=True))
    return values.reshape(*grid, *values.shape[1:])[rows][:, columns]


def outline(inside: np.ndarray, width: int) -> np.ndarray:
    """The pixels (H, W) of a region that are within ``width`` of its edge."""
    padded = np.pad(inside, width)
    height, length = inside.shape
    core = inside.copy()
    for shift in range(1, width + 1):
        for down, right in ((shift, 0), (-shift, 0), (0, shift), (0, -shift)):
            core &= padded[width + down : width + down + height, width + right : width + right + length]
    return inside & ~core


def error_colours(values: np.ndarray) -> UInt8[np.ndarray, "... 3"]:
    """Relative errors as colours: blue below 1, white at 1, red above."""
    channels = [np.interp(values, ERROR_STOPS, ERROR_COLOURS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def picture(array: UInt8[np.ndarray, "H W 3"], alt: str, largest: int = LARGEST) -> Picture:
    """A picture whose bytes are in its address: nothing has to be fetched."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(array))
    if max(image.size) > largest:
        image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    # Few colours (small or enlarged pictures) are PNG's case, photographs JPEG's.
    drawn = max(image.size) < SMALL or len(np.unique(array.reshape(-1, 3), axis=0)) < 4096
    if drawn:
        image.save(stream, "PNG", optimize=True)
    else:
        image.save(stream, "JPEG", quality=JPEG_QUALITY)
    kind = "png" if drawn else "jpeg"
    uri = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Picture(uri, alt, image.width, image.height, max(image.size) < SMALL)

"""Radar images from files: amplitudes of 8 and 16 bits and floats, complex images, and chips of MSTAR."""

from __future__ import annotations

import io
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from anyjepa.data.bands import is_tiff
from anyjepa.data.decode import decode, pixel_limit
from anyjepa.data.files import regular
from anyjepa.data.formats import EXTENSIONS
from anyjepa.errors import DataError, MissingExtraError

MSTAR = b"[PhoenixHeaderVer"
"""First bytes of an MSTAR file."""
_NUMPY = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 16
_NUMBERED = re.compile(r"\.\d{3}$")


class Amplitude(NamedTuple):
    """A radar image as it was stored."""

    values: Shaped[np.ndarray, "H W"]
    """uint8, or float32 of at least 0."""
    white: bool
    """Whether 255, or 1.0, is the brightest value there can be; else it is in units of its own."""


def is_radar_name(name: str) -> bool:
    """Whether a file may be a radar image by its name: an image, .npy, or the three figures of MSTAR (HB03333.015)."""
    ending = PurePosixPath(name).suffix.lower()
    return ending in EXTENSIONS or ending == ".npy" or bool(_NUMBERED.search(name))


def read_amplitude(data: Any, name: str, max_pixels: int | None = None) -> Amplitude:
    """The amplitude of a radar image; of complex numbers their absolute values.

    Args:
        data: path of a file, or its bytes.
        name: what to call it in an error.
        max_pixels: refuse images of more pixels; None: Pillow's limit.

    Raises:
        DataError: the bytes are not a whole image of one channel.
        MissingExtraError: a complex TIFF, and tifffile is not installed.
    """
    start = _first(data)
    limit = pixel_limit(max_pixels)
    try:
        if start.startswith(MSTAR):
            return Amplitude(read_mstar(_whole(data), limit), False)
        if start.startswith(_NUMPY):
            return _of(_array(data, limit))
        if is_tiff(data) and (complex_values := _complex_tiff(data, limit)) is not None:
            return _of(complex_values)
    except (DataError, MissingExtraError) as error:
        if isinstance(error, DataError):
            raise DataError(f"cannot read image {name}: {error}") from error
        raise
    except Exception as error:  # readers fed with broken bytes raise anything
        raise DataError(f"cannot read image {name}: {error or type(error).__name__}") from error
    pixels = decode(data, 1, name, max_pixels)[0].numpy()
    if pixels.dtype == np.uint8:
        return Amplitude(pixels, True)
    # 16 bits are in 0..1 by now; floats are as they were stored.
    return _checked(pixels, name, _is_deep(data))


def mstar_header(data: bytes) -> dict[str, str]:
    """Keys and values of the text before an MSTAR image.

    Raises:
        DataError: it has no end.
    """
    head = data[:_LONGEST_HEADER]
    end = head.find(b"[EndofPhoenixHeader]")
    if not data.startswith(MSTAR) or end < 0:
        raise DataError("its Phoenix header has no end")
    text = head[:end].decode("ascii", "replace")
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def read_mstar(data: bytes, max_pixels: int) -> np.ndarray:
    """Magnitudes (H, W) of an MSTAR chip: after the header rows x columns big-endian float32, then as many phases.

    Raises:
        DataError: the header lacks something, or the file is shorter than it says.
    """
    header = mstar_header(data)
    numbers = {}
    for key in ("PhoenixHeaderLength", "NumberOfRows", "NumberOfColumns"):
        value = header.get(key, "")
        if not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) < 1:
            raise DataError(f"its Phoenix header has {key}={value or 'nothing'}, expected a whole number")
        numbers[key] = int(value)
    rows, columns = numbers["NumberOfRows"], numbers["NumberOfColumns"]
    if rows * columns > max_pixels:
        raise DataError(f"{columns} x {rows} pixels are more than the safe limit of {max_pixels}")
    native = header.get("native_header_length", "0")
    offset = numbers["PhoenixHeaderLength"] + (int(native) if native.isdigit() and len(native) < 7 else 0)
    if len(data) < offset + 4 * rows * columns:
        raise DataError(
            f"it ends after {len(data)} bytes, its header promises {rows} x {columns} magnitudes from byte {offset} on"
        )
    values = np.frombuffer(data, ">f4", rows * columns, offset).astype(np.float32).reshape(rows, columns)
    return _checked(values, "", False).values


def _of(values: np.ndarray) -> Amplitude:
    """Stored numbers as amplitudes."""
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"it has shape {values.shape}, expected (height, width)")
    if values.dtype == np.uint8:
        return Amplitude(np.ascontiguousarray(values), True)
    if values.dtype == np.uint16:
        return Amplitude(values.astype(np.float32) / 65535, True)
    if values.dtype.kind not in "cf":
        raise DataError(f"it holds {values.dtype}; expected uint8, uint16, floats or complex numbers")
    return _checked(np.abs(values) if values.dtype.kind == "c" else values, "", False)


def _checked(values: np.ndarray, name: str, white: bool) -> Amplitude:
    told = f"cannot read image {name}: it" if name else "it"
    values = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{told} holds values that are not finite")
    if values.min() < 0:
        raise DataError(
            f"{told} holds negative values, down to {values.min():.4g}: amplitudes are at least 0"
        )
    return Amplitude(values, white)


def _array(data: Any, limit: int) -> np.ndarray:
    stream = io.BytesIO(_whole(data))
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise DataError("it holds Python objects, which are never opened")
    if np.prod(shape, dtype=np.float64) > limit:
        raise DataError(f"{shape} pixels are more than the safe limit of {limit}")
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def _complex_tiff(data: Any, limit: int) -> np.ndarray | None:
    """The first page of a TIFF of complex numbers; None: it holds others, which the reader of images takes."""
    try:
        from tifffile import TiffFile
    except ImportError as error:
        if b"complex" in _sample_format(data):
            raise MissingExtraError("tifffile", "tiff") from error
        return None
    with TiffFile(data if isinstance(data, Path) else io.BytesIO(data)) as file:
        page: Any = file.pages[0]
        kind = int(getattr(page, "sampleformat", 1) or 1)
        if kind not in (5, 6):
            return None
        if kind == 5 or page.dtype is None:
            raise DataError(
                "it holds complex integers: store them as complex floats, e.g. gdal_translate -ot CFloat32"
            )
        if int(page.imagewidth) * int(page.imagelength) > limit:
            raise DataError(f"{page.shape} pixels are more than the safe limit of {limit}")
        return np.asarray(page.asarray(maxworkers=1))


def _sample_format(data: Any) -> bytes:
    """``b"complex"`` where the tags of a TIFF say so, read without tifffile."""
    from PIL import Image

    try:
        with Image.open(data if isinstance(data, Path) else io.BytesIO(data), formats=("TIFF",)) as image:
            tags: Any = image.tag_v2  # type: ignore[attr-defined]
            return b"complex" if tags.get(339, (1,))[0] in (5, 6) else b""
    except Exception:  # Pillow knows no complex numbers, and refuses them
        return b"complex"


def _is_deep(data: Any) -> bool:
    """Whether a decoded float image was of 16 bits."""
    from anyjepa.data.formats import open_image

    with open_image(data) as image:
        return image.mode != "F"


def _first(data: Any) -> bytes:
    if isinstance(data, Path):
        with regular(data).open("rb") as file:
            return file.read(32)
    return bytes(memoryview(data)[:32])


def _whole(data: Any) -> bytes:
    return data.read_bytes() if isinstance(data, Path) else bytes(data)

"""Images in one NumPy array: .npy, .npz, and the digits that come with scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from anyjepa.data.base import Source, encode_labels
from anyjepa.data.decode import in_range, pixel_limit
from anyjepa.data.files import regular
from anyjepa.data.npz import npz_axes, read_npz
from anyjepa.errors import DataError

IMAGE_KEYS = ("images", "x", "data")
"""Keys of an .npz file looked for first; else its first array of three or more axes."""
LABEL_KEYS = ("labels", "y", "target")
"""Keys of an .npz file that hold labels."""
DIGITS_TEST_EVERY = 4
"""``digits:test`` holds every fourth of the digits, ``digits:train`` the others."""


class ArraySource(Source):
    """Images of one array (N, H, W), (N, H, W, C) or (N, C, H, W).

    uint8 is taken as it is, uint16 is divided by 65535, floats are taken as they are and expected in 0..1. An
    axis of 1, 3 or 4 is the channel axis, the last one before the second; else the shorter of the two.

    Args:
        load: function that opens the array; called once per process, so it must survive pickling.
        name: what to call the array in errors.
        channels: None: as stored; 1 of a colour array: its mean over channels; 3 of a grey one: repeated, of
            RGBA: RGB.
        labels: (N,) whole numbers or texts.
        max_pixels: refuse images of more pixels; None: Pillow's limit.
    """

    def __init__(
        self,
        load: Callable[[], np.ndarray],
        name: str,
        channels: int | None = None,
        labels: np.ndarray | None = None,
        max_pixels: int | None = None,
    ) -> None:
        self._load = load
        self.name = name
        self._array: np.ndarray | None = None
        array = self._open()
        self._axis = _channel_axis(array, name)
        pixels = math.prod(array.shape[1:]) // (1 if self._axis is None else array.shape[self._axis])
        if pixels > (limit := pixel_limit(max_pixels)):
            raise DataError(f"{name} has images of {pixels} pixels, more than the safe limit of {limit}")
        self._stored = 1 if self._axis is None else array.shape[self._axis]
        self.channels = self._stored if channels is None else channels
        if self.channels != self._stored and (self._stored not in (1, 3, 4) or self.channels not in (1, 3)):
            raise DataError(
                f"{name} has {self._stored} channels, which do not become {channels}; leave channels out"
            )
        self._length = len(array)
        if labels is not None:
            if len(labels) != self._length:
                raise DataError(f"{name} has {self._length} images but {len(labels)} labels")
            self.labels, self.class_names = encode_labels(labels, name)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_array": None}

    def __len__(self) -> int:
        return self._length

    def read(self, i: int) -> Shaped[Tensor, "C H W"]:
        image = np.array(self._open()[i])
        if self._axis is None:
            image = image[None]
        elif self._axis == 3:
            image = image.transpose(2, 0, 1)
        try:
            return self._to_channels(torch.from_numpy(in_range(image)))
        except DataError as error:
            raise DataError(f"cannot read image {self.identity(i)}: {error}") from error

    def identity(self, i: int) -> str:
        return f"{self.name} row {i}"

    def _open(self) -> np.ndarray:
        if self._array is None:
            self._array = self._load()
        return self._array

    def _to_channels(self, image: Tensor) -> Tensor:
        if self._stored == self.channels:
            return image
        if self._stored == 1:
            return image.expand(self.channels, -1, -1)
        colour = image[:3]
        return colour if self.channels == 3 else colour.float().mean(0, keepdim=True).to(image.dtype)


def _channel_axis(array: np.ndarray, name: str) -> int | None:
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise DataError(
            f"{name} holds {array.dtype}; images are uint8, uint16 or floats in 0..1: convert with .astype"
        )
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(f"{name} has shape {array.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W)")
    if array.ndim == 3:
        return None
    for axis in (3, 1):
        if array.shape[axis] in (1, 3, 4):
            return axis
    if array.shape[1] == array.shape[3]:
        raise DataError(f"{name} has shape {array.shape}: the channel axis cannot be told; use (N, H, W, C)")
    return 1 if array.shape[1] < array.shape[3] else 3


def _map(path: Path) -> np.ndarray:
    # Mapped into memory, so a header that claims more than the file holds is refused and nothing is allocated.
    try:
        array = np.load(regular(path), mmap_mode="r", allow_pickle=False)
    except DataError:
        raise
    except Exception as error:  # NumPy parses the header as Python and passes on what that raises
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is an .npz archive under the name of an .npy array; rename it")
    return array


def open_npy(path: Path, channels: int | None, max_pixels: int | None = None) -> ArraySource:
    """The array of an .npy file, memory mapped."""
    return ArraySource(partial(_map, path), path.name, channels, max_pixels=max_pixels)


def open_npz(path: Path, channels: int | None, labels: bool, max_pixels: int | None = None) -> ArraySource:
    """Images (and labels, when asked for) of an .npz file; see IMAGE_KEYS and LABEL_KEYS."""
    axes = npz_axes(path)
    named = [key for key in IMAGE_KEYS if key in axes]
    key = named[0] if named else next((k for k, count in axes.items() if count >= 3), None)
    label_key = next((k for k in LABEL_KEYS if k in axes), None)
    if key is None:
        raise DataError(f"{path} has no array of images (N, H, W) or more; its keys: {', '.join(axes)}")
    if labels and label_key is None:
        raise DataError(
            f"{path} has no labels: expected a key {', '.join(LABEL_KEYS)}; its keys: {', '.join(axes)}"
        )
    values = read_npz(path, label_key) if labels and label_key is not None else None
    return ArraySource(partial(read_npz, path, key), path.name, channels, values, max_pixels)


def open_digits(part: str, channels: int | None, labels: bool) -> ArraySource:
    """1797 handwritten digits, 8 x 8, grey (scikit-learn's ``load_digits``; Alpaydin and Kaynak, 1998, UCI).

    Args:
        part: ``""`` (all), ``"train"`` (1347) or ``"test"`` (450).
        channels: 1, 3 or None.
        labels: give the digit as label.
    """
    values = _digits(part)[1]
    name = f"digits:{part}" if part else "digits"
    return ArraySource(partial(_digit_images, part), name, channels, values if labels else None)


def _digits(part: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    test = np.arange(len(images)) % DIGITS_TEST_EVERY == 0
    keep = {"": np.ones_like(test), "train": ~test, "test": test}[part]
    return images[keep], bunch.target[keep]


def _digit_images(part: str) -> np.ndarray:
    return _digits(part)[0]

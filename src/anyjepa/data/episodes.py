"""Demonstrations: what an episode is, its pictures, and the memory that decoded pictures may take."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8

from anyjepa.errors import DataError


@runtime_checkable
class Frames(Protocol):
    """The pictures one camera took in one episode. It must survive pickling to workers."""

    def size(self) -> tuple[int, int]:
        """Height and width as stored; raises DataError when they cannot be told."""
        ...

    def blocks(self) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        """All pictures in order; raises DataError where they cannot be read."""
        ...


@dataclass(frozen=True)
class Episode:
    """One demonstration.

    Attributes:
        name: by which a person finds it.
        state: (T, S) what the robot feels of itself, in its units.
        action: (n, A), n = T, what was done, in the units of the environment.
        task: what it was about.
        cameras: pictures by the name of the camera.
        fps: frames per second, where the data say it.
    """

    name: str
    state: Float[np.ndarray, "T S"]
    action: Float[np.ndarray, "n A"]
    task: str = ""
    cameras: dict[str, Frames] = field(default_factory=dict)
    fps: float | None = None

    def __len__(self) -> int:
        return len(self.action)


class AbsentError(DataError):
    """The data set speaks of an episode and does not have it: one that was not downloaded is not broken."""


class Found(NamedTuple):
    """An episode that can be loaded; ``load`` raises DataError when it is broken, AbsentError when it is not there."""

    name: str
    load: Callable[[], Episode]


def as_pictures(values: Any, where: str) -> UInt8[np.ndarray, "n H W 3"]:
    """Stored pictures (n, H, W, 3), (n, 3, H, W) or grey ones as uint8 in colour; floats are 0..1, or 0..255.

    Raises:
        DataError: they are neither.
    """
    array = np.asarray(values)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or (array.shape[-1] not in (1, 3) and array.shape[1] not in (1, 3)):
        raise DataError(f"{where}: pictures must be (frames, height, width, 3), got {array.shape}")
    if array.shape[-1] not in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if array.dtype.kind == "f":
        array = np.rint(np.clip(array * (255 if array.size and array.max() <= 1.0 else 1), 0, 255))
    if array.dtype.kind not in "fui" or (array.dtype != np.uint8 and array.size and array.max() > 255):
        raise DataError(f"{where}: pictures must be uint8, or floats in 0..1, got {array.dtype}")
    array = array.astype(np.uint8, copy=False)
    return array if array.shape[-1] == 3 else np.repeat(array, 3, axis=-1)


def resized(pictures: UInt8[np.ndarray, "n H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "n 3 h w"]:
    """Channels first, brought to a size by antialiased bilinear interpolation."""
    values = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, 1)))
    if tuple(values.shape[2:]) != size:
        values = F.interpolate(values, size=size, mode="bilinear", antialias=True)
    return values.numpy()


class PictureMemory:
    """Decoded pictures of whole episodes; those used last are kept. Each process has its own.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._kept: OrderedDict[Any, np.ndarray | DataError] = OrderedDict()

    def get(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The pictures under a key, made where they are not held. What once could not be read is not tried again.

        Raises:
            DataError: they cannot be read.
        """
        kept = self._kept.get(key)
        if kept is None:
            try:
                kept = make()
            except DataError as error:
                kept = error
            self._kept[key] = kept
            self.held += getattr(kept, "nbytes", 0)
            while self.held > self.most and len(self._kept) > 1:
                self.held -= getattr(self._kept.popitem(last=False)[1], "nbytes", 0)
        else:
            self._kept.move_to_end(key)
        if isinstance(kept, DataError):
            raise kept
        return kept

    def __getstate__(self) -> dict[str, Any]:
        # A worker begins with nothing: pickling gigabytes would cost more than decoding.
        return {"most": self.most, "held": 0, "_kept": OrderedDict()}

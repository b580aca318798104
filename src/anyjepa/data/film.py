"""Frames of one video: a file, a folder of pictures, or an array."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from anyjepa.data.decode import decode
from anyjepa.errors import DataError, MissingExtraError

VIDEO_ENDINGS = frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg"})
RATE = 25.0
"""Frames per second of pictures in a folder and of arrays, which do not say."""


@dataclass(frozen=True)
class Frames:
    """Some decoded frames of a video.

    Attributes:
        pixels: (F, C, h, w).
        times: (F,) seconds after the first frame of the video at which each is shown, ascending.
        rate: frames per second of the video, on average.
    """

    pixels: UInt8[Tensor, "F C h w"]
    times: Float[np.ndarray, "F"]
    rate: float

    def at(self, times: Float[np.ndarray, "T"]) -> UInt8[Tensor, "T C h w"]:
        """The frame on show at each time; before the first and after the last, these."""
        # A thousandth of a second: times are rounded to the ticks of the file.
        place = np.searchsorted(self.times, times + 1e-3, side="right") - 1
        return self.pixels[torch.from_numpy(np.clip(place, 0, len(self.times) - 1))]


class Film(ABC):
    """One video.

    Attributes:
        name: for messages.
        rate: frames per second, on average.
        seconds: how long it is, as far as is known before it is decoded.
    """

    name: str
    rate: float
    seconds: float

    @abstractmethod
    def read(self, start: float = 0.0, stop: float | None = None, side: int = 0) -> Frames:
        """The frames shown from ``start`` to ``stop`` seconds, the one on show at ``start`` among them.

        Args:
            start, stop: seconds after the first frame; None: to the end.
            side: shrink frames to this shorter side in pixels; 0: leave them.

        Raises:
            DataError: it cannot be decoded, or holds no frame.
        """


class FileFilm(Film):
    """A video file, read by PyAV.

    Raises:
        MissingExtraError: PyAV is not installed.
        DataError: the file cannot be opened or has no picture.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with _open(path, name) as container:
            stream = container.streams.video[0]
            self.rate = float(stream.average_rate or stream.guessed_rate or RATE)
            length = stream.duration * stream.time_base if stream.duration else None
            if length is None and container.duration:
                length = container.duration / 1e6
            if length is None and stream.frames:
                length = stream.frames / self.rate
            self.seconds = float(length) if length is not None else 0.0

    def read(self, start: float = 0.0, stop: float | None = None, side: int = 0) -> Frames:
        import av

        found: list[np.ndarray] = []
        times: list[float] = []
        margin = 0.5 / self.rate
        with _open(self.path, self.name) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            first = float((stream.start_time or 0) * stream.time_base)
            if start > 1.0:
                container.seek(int((start + first) / stream.time_base), stream=stream)
            try:
                for frame in container.decode(stream):
                    # A frame without a time comes one frame after the one before it.
                    shown = (
                        frame.time - first
                        if frame.time is not None
                        else (times[-1] + 1 / self.rate if times else 0.0)
                    )
                    if times and shown <= times[-1]:
                        continue
                    if stop is not None and shown > stop + margin and times:
                        break
                    if shown + margin < start:
                        # The frame on show at the start may be any before it: only the latest is kept.
                        found.clear()
                        times.clear()
                    found.append(_pixels(frame, side))
                    times.append(shown)
            except av.FFmpegError as error:
                raise DataError(
                    f"{self.name}: cannot be decoded after {times[-1] if times else 0:.2f} s ({error})"
                ) from None
        if not found:
            raise DataError(f"{self.name}: holds no frame after {start:.2f} s")
        if stop is not None and times[-1] + 0.1 * self.seconds + 2 / self.rate < min(stop, self.seconds):
            raise DataError(
                f"{self.name}: ends after {times[-1]:.2f} of {self.seconds:.2f} s: is it cut off?"
            )
        return Frames(torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2), np.array(times), self.rate)


class FolderFilm(Film):
    """Pictures of a folder in the order of their names."""

    def __init__(self, folder: Path, files: list[str], name: str) -> None:
        self.folder, self.files, self.name, self.rate = folder, files, name, RATE
        self.seconds = len(files) / RATE

    def read(self, start: float = 0.0, stop: float | None = None, side: int = 0) -> Frames:
        rows = _rows(len(self.files), start, stop)
        frames = [
            _shrunk(decode(self.folder / self.files[i], 3, f"{self.name}/{self.files[i]}", None), side)
            for i in rows
        ]
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise DataError(
                f"{self.name}: its pictures have different sizes: {sorted(tuple(s[1:]) for s in sizes)[:3]}"
            )
        return Frames(torch.stack(frames), np.array(rows) / RATE, RATE)


class ArrayFilm(Film):
    """Frames (F, C, h, w) in memory or in a mapped file."""

    def __init__(self, frames: Any, name: str) -> None:
        self.frames, self.name, self.rate = frames, name, RATE
        self.seconds = len(frames) / RATE

    def read(self, start: float = 0.0, stop: float | None = None, side: int = 0) -> Frames:
        rows = _rows(len(self.frames), start, stop)
        pixels = torch.from_numpy(np.ascontiguousarray(self.frames[rows[0] : rows[-1] + 1]))
        return Frames(_shrunk(pixels, side), np.array(rows) / RATE, RATE)


def _rows(count: int, start: float, stop: float | None) -> list[int]:
    first = min(max(0, int(np.floor(start * RATE + 1e-6))), count - 1)
    last = count - 1 if stop is None else min(count - 1, int(np.floor(stop * RATE + 1e-6)))
    return list(range(first, max(first, last) + 1))


def _open(path: Path, name: str) -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtraError("PyAV", "video") from None
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{name}: cannot be opened as a video ({error})") from None
    if not container.streams.video:
        container.close()
        raise DataError(f"{name}: holds no pictures")
    return container


def _pixels(frame: Any, side: int) -> np.ndarray:
    """(h, w, 3), upright, its shorter side at most ``side``."""
    height, width = frame.height, frame.width
    if side and min(height, width) > side:
        scale = side / min(height, width)
        frame = frame.reformat(width=max(side, round(width * scale)), height=max(side, round(height * scale)))
    pixels = frame.to_ndarray(format="rgb24")
    # Degrees against the clock by which a player turns the frame: phones write upright films lying.
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _shrunk(pixels: Tensor, side: int) -> Tensor:
    """(..., C, h, w) with a shorter side of at most ``side``."""
    height, width = pixels.shape[-2:]
    if not side or min(height, width) <= side:
        return pixels
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    flat = pixels.reshape(-1, 1, height, width).float()
    small = F.interpolate(flat, size, mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).reshape(*pixels.shape[:-2], *size)

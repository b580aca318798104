"""Where pictures of episodes lie: arrays of .npz, HDF5 and zarr, videos, encoded images in tables."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from anyjepa.data.episodes import as_pictures
from anyjepa.data.files import regular
from anyjepa.data.npz import read_npz
from anyjepa.errors import DataError, MissingExtraError

BLOCK = 64
"""Pictures that are decoded at once."""
SLACK = 0.02
"""Share by which the rate of a video may differ from that of its table: 29.97 is 30."""


def decode_image(data: bytes, where: str) -> UInt8[np.ndarray, "H W 3"]:
    """An encoded image in colour.

    Raises:
        DataError: it is torn, or none.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: {error}") from error


@dataclass(frozen=True)
class NpzFrames:
    """An array of an archive."""

    path: Path
    key: str

    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        return next(self.blocks()).shape[1:3]

    def blocks(self) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        """All pictures in order."""
        yield as_pictures(read_npz(self.path, self.key), f"{self.path}, '{self.key}'")


@dataclass(frozen=True)
class H5Frames:
    """A data set of an HDF5 file: pictures, or rows of bytes that are encoded images."""

    path: Path
    key: str
    count: int

    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        return next(self._some(1)).shape[1:3]

    def blocks(self) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        """All pictures in order."""
        yield from self._some(self.count)

    def _some(self, count: int) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        from anyjepa.data.episodes_hdf5 import opened

        where = f"{self.path}, '{self.key}'"
        with opened(self.path) as file:
            stored: Any = file[self.key]
            for start in range(0, count, BLOCK):
                rows = stored[start : min(start + BLOCK, count)]
                if rows.ndim == 2 and rows.dtype == np.uint8:
                    yield np.stack([decode_image(row.tobytes(), where) for row in rows])
                else:
                    yield as_pictures(rows, where)


@dataclass(frozen=True)
class ZarrFrames:
    """Some rows of an array of a zarr store."""

    path: Path
    key: str
    start: int
    stop: int

    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        return self._rows(self.start, self.start + 1).shape[1:3]

    def blocks(self) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        """All pictures in order."""
        yield self._rows(self.start, self.stop)

    def _rows(self, start: int, stop: int) -> UInt8[np.ndarray, "n H W 3"]:
        from anyjepa.data.episodes_zarr import array_of, opened

        return as_pictures(
            array_of(opened(self.path), self.key, self.path)[start:stop], f"{self.path}, '{self.key}'"
        )


@dataclass(frozen=True)
class EncodedFrames:
    """Images as they were encoded."""

    data: Sequence[bytes]
    where: str

    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        height, width, _ = decode_image(self.data[0], self.where).shape
        return height, width

    def blocks(self) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        """All pictures in order."""
        for start in range(0, len(self.data), BLOCK):
            yield np.stack([decode_image(data, self.where) for data in self.data[start : start + BLOCK]])


@dataclass(frozen=True)
class VideoFrames:
    """A stretch of a video, decoded by PyAV.

    Attributes:
        path: the file.
        count: pictures that belong to the episode.
        begin: second at which it begins.
        fps: frames per second that the table has.
    """

    path: Path
    count: int
    begin: float
    fps: float

    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        with _video(self.path) as container:
            codec = container.streams.video[0].codec_context
            return codec.height, codec.width

    def check(self) -> None:
        """Compare what the header says with what the episode needs.

        Raises:
            DataError: the video has another rate, or fewer pictures.
        """
        with _video(self.path) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 0)
            if rate and abs(rate / self.fps - 1) > SLACK:
                raise DataError(f"{self.path.name} has {rate:.4g} frames a second, the table {self.fps:.4g}")
            # 0: the header does not say it, decoding will tell.
            if stream.frames and stream.frames + 0.5 < self.begin * self.fps + self.count:
                raise DataError(
                    f"{self.path.name} has {stream.frames} pictures, the table needs {round(self.begin * self.fps) + self.count}"
                )

    def blocks(self) -> Iterator[UInt8[np.ndarray, "n H W 3"]]:
        """All pictures in order."""
        import av

        held: list[np.ndarray] = []
        left = self.count
        try:
            with _video(self.path) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                half = 0.5 / self.fps
                if self.begin > half:
                    container.seek(int(self.begin / stream.time_base), stream=stream)
                for frame in container.decode(stream):
                    if left == 0:
                        break
                    if frame.time is not None and frame.time < self.begin - half:
                        continue
                    held.append(frame.to_ndarray(format="rgb24"))
                    left -= 1
                    if len(held) == BLOCK:
                        yield np.stack(held)
                        held = []
        except (av.error.FFmpegError, ValueError) as error:
            raise DataError(f"{self.path.name} cannot be decoded: {error}") from error
        if held:
            yield np.stack(held)
        if left:
            raise DataError(f"{self.path.name} ends {left} pictures before its table: it is cut off")


def _video(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("PyAV", "robot") from error
    try:
        container = av.open(str(regular(path)), metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} is no video that can be read: {error}") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} holds no video")
    return container

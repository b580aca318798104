"""Films of episodes, mp4 through PyAV, and one sheet of pictures of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from anyjepa.errors import ConfigError, MissingExtraError
from anyjepa.training.tensorfile import write_bytes

THUMB = 160
"""Pixels of a side of a picture on the sheet."""
COLUMNS = 8


def open_video(path: Path, fps: float, height: int, width: int, quality: int = 18) -> Any:
    """A container with one H.264 stream, to write pictures to with :func:`put`.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "sim") from None

    container = av.open(str(path), "w", format="mp4")
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.options = {"crf": str(quality), "preset": "veryfast", "threads": "1"}
    return container


def put(container: Any, picture: UInt8[np.ndarray, "H W 3"] | None) -> None:
    """Encode one picture; None: there are no more, the file is finished."""
    import av

    stream = container.streams.video[0]
    frame = None if picture is None else av.VideoFrame.from_ndarray(picture, format="rgb24")
    container.mux(stream.encode(frame))
    if picture is None:
        container.close()


class Reel:
    """The film of one episode."""

    def __init__(self, folder: Path, fps: float, number: int, seed: int) -> None:
        self._folder, self._fps, self._stem = folder, fps, f"episode-{number:03d}-seed-{seed}"
        self._part = folder / f".{self._stem}.partial"
        self._container: Any = None
        self.thumbs: list[UInt8[np.ndarray, "h w 3"]] = []

    def add(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """The next picture. Sides of odd length lose a row, which the format asks for."""
        picture = np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
        if self._container is None:
            self._container = open_video(self._part, self._fps, *picture.shape[:2])
        put(self._container, picture)
        small = Image.fromarray(picture)
        small.thumbnail((THUMB, THUMB))
        self.thumbs.append(np.asarray(small))

    def end(self, how: str) -> None:
        """Finish the file; its name says how the episode ended."""
        put(self._container, None)
        self._part.replace(self._folder / f"{self._stem}-{how}.mp4")

    def drop(self) -> None:
        """Delete what there is of a film that was not finished."""
        if self._part.exists():
            self._container.close()
            self._part.unlink()


class Film:
    """All films of a rollout.

    Args:
        folder: is made when it is not there.
        fps: pictures a second.
        episodes: how many will be filmed.

    Raises:
        ConfigError: the folder is a file.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, folder: Path, fps: float, episodes: int) -> None:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is a file: name a folder for the videos")
        try:
            import av  # noqa: F401
        except ImportError:
            raise MissingExtraError("av", "sim") from None
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._fps, self._episodes = folder, fps, episodes
        self._reels: list[Reel] = []

    def begin(self, seed: int) -> Reel | None:
        """The reel of the next episode; None: enough have been filmed."""
        if len(self._reels) >= self._episodes:
            return None
        self._reels.append(Reel(self._folder, self._fps, len(self._reels), seed))
        return self._reels[-1]

    def tidy(self) -> None:
        """Delete the films of episodes that did not come to their end."""
        for reel in self._reels:
            reel.drop()

    def sheet(self) -> Path:
        """Write ``sheet.png``: a row for each episode, pictures from its first to its last moment."""
        rows = []
        for reel in self._reels:
            picked = np.linspace(0, len(reel.thumbs) - 1, COLUMNS).round().astype(int)
            rows.append(np.concatenate([_framed(reel.thumbs[k]) for k in picked], axis=1))
        path = self._folder / "sheet.png"
        part = self._folder / ".sheet.png.partial"
        write_bytes(part, _png(np.concatenate(rows)))
        part.replace(path)
        return path


def _framed(thumb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
    return np.pad(thumb, ((1, 1), (1, 1), (0, 0)), constant_values=200)


def _png(picture: UInt8[np.ndarray, "H W 3"]) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()

"""Videos as a kind of data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data.base import Source
from anyjepa.data.broken import Broken
from anyjepa.data.film import VIDEO_ENDINGS
from anyjepa.data.images import ImageConfig
from anyjepa.data.modality import Modality, Progress
from anyjepa.data.video import VideoDataset
from anyjepa.data.video_config import VideoConfig
from anyjepa.data.video_source import ArrayVideos, open_videos
from anyjepa.errors import ConfigError, DataError

LOOKED_AT = 200
"""Videos that are opened for the report, evenly spread."""
FRAMES = 16
LARGEST = 224
"""Largest side chosen without being asked: V-JEPA's."""


@dataclass(frozen=True)
class VideoReport:
    """What was found in some videos."""

    count: int
    """Videos in the source."""
    looked_at: int
    """Videos that were opened."""
    sizes: tuple[tuple[tuple[int, int], int], ...]
    """Most frequent (height, width) as they are shown, with counts."""
    seconds: tuple[float, float]
    """Shortest and longest."""
    rates: tuple[float, float]
    """Least and largest number of frames per second."""
    short: int
    """Videos shorter than a clip: their last frame is repeated."""
    classes: int | None
    """Number of classes; None without labels."""
    side: int
    """Median of the shorter sides."""
    broken: tuple[Broken, ...]
    """Videos that cannot be read."""

    def __str__(self) -> str:
        part = "" if self.looked_at == self.count else f" (looked at {self.looked_at:,})"
        (height, width), often = self.sizes[0]
        other = len(self.sizes) - 1
        lines = [
            f"{self.count:,} videos{part}, {f'{self.classes} classes' if self.classes else 'no labels'}",
            f"length: {self.seconds[0]:.3g} to {self.seconds[1]:.3g} s; "
            f"{self.rates[0]:.3g} to {self.rates[1]:.3g} frames per second",
            f"size: most often {height} x {width} pixels high x wide ({often} times)"
            + (f", and {other} other sizes" if other else ""),
        ]
        if self.short:
            lines.append(
                f"attention: {self.short} are shorter than a clip and show their last frame until its end: use fewer frames "
                "(video.frames) or a smaller video.frame_step"
            )
        lines.append(
            f"broken: {len(self.broken)} of those looked at; {self.broken[0].reason}"
            if self.broken
            else "broken: none of those looked at"
        )
        return "\n".join(lines)


class Video(Modality):
    """Films and clips: files of any format ffmpeg reads, folders of pictures, arrays."""

    name = "video"
    noun = "videos"
    config = VideoConfig
    opens = f"a folder of videos ({', '.join(sorted(VIDEO_ENDINGS))}) or of folders of pictures, .csv of paths, .npy, .npz"
    endings = VIDEO_ENDINGS
    axes = "channels, frames, height, width"
    inherited = ("mean", "std", "frame_step", "fps")

    def open(
        self, path: str | Path, config: VideoConfig, *, labels: bool = False, progress: Progress | None = None
    ) -> Source:
        return open_videos(path, config, labels)

    def given(self, x: Any, config: VideoConfig, shape: Any = None) -> Source:
        if isinstance(x, Source | str | Path):
            return super().given(x, config, shape)
        return ArrayVideos(np.asarray(x), "array")

    def inspect(self, source: Source, config: VideoConfig) -> VideoReport:
        count = min(LOOKED_AT, len(source))
        rows = np.arange(count) * len(source) // count
        sizes: Counter[tuple[int, int]] = Counter()
        seconds, rates, broken, short = [], [], [], 0
        for i in rows.tolist():
            try:
                film = source.read(i)
                pixels = film.read(0.0, 0.0).pixels
            except DataError as error:
                broken.append(Broken(source.identity(i), str(error)))
                continue
            sizes[pixels.shape[2], pixels.shape[3]] += 1
            seconds.append(film.seconds)
            rates.append(film.rate)
            short += film.seconds < config.spacing(film.rate) * ((config.frames or FRAMES) - 1)
        if not sizes:
            raise DataError(f"not one of the {count} videos looked at can be read: {broken[0].reason}")
        side = int(np.median([min(size) for size, n in sizes.items() for _ in range(n)]))
        return VideoReport(
            len(source),
            count,
            tuple(sizes.most_common()),
            (min(seconds), max(seconds)),
            (min(rates), max(rates)),
            short,
            source.classes,
            side,
            tuple(broken),
        )

    def shape(self, source: Source, config: VideoConfig, report: VideoReport) -> tuple[int, ...]:
        side = min(report.side, LARGEST)
        side = side // 16 * 16 if side >= 16 else side
        return (source.channels, config.frames or FRAMES, *ImageConfig.sides(config.size or side))

    def suit(self, config: VideoConfig, shape: tuple[int, ...]) -> VideoConfig:
        if len(shape) != 4:
            raise ConfigError(
                f"the method takes samples of shape {shape}, not clips (channels, frames, height, width)"
            )
        if config.size and shape[2:] != ImageConfig.sides(config.size):
            raise ConfigError(
                f"video.size={config.size}, but the model expects {shape[2:]}: leave one of the two out"
            )
        if config.frames and config.frames != shape[1]:
            raise ConfigError(
                f"video.frames={config.frames}, but the model expects {shape[1]}: leave one of the two out"
            )
        return replace(config, size=(shape[2], shape[3]), frames=shape[1])

    def dataset(self, source: Source, config: VideoConfig) -> VideoDataset:
        return VideoDataset(source, config)

    def published(self, config: VideoConfig) -> dict[str, Any]:
        shown = super().published(config)
        return {key: value for key, value in shown.items() if not key.endswith("_column")}

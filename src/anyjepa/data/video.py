"""Clips of videos as training and evaluation batches."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from anyjepa.data.base import Source
from anyjepa.data.dataset import Dataset, Indices
from anyjepa.data.film import Frames
from anyjepa.data.images import ImageConfig
from anyjepa.data.transforms import crop_resize, flips, resize_centre
from anyjepa.data.video_config import VideoConfig
from anyjepa.errors import ConfigError, DataError
from anyjepa.normalisation import constants
from anyjepa.randomness import uniform
from anyjepa.views.boxes import crop_boxes


def sliding_boxes(
    heights: list[int], widths: list[int], size: tuple[int, int], views: int, centre: float = 1.0
) -> Int[np.ndarray, "B V 4"]:
    """Boxes (top, left, height, width) of the shape of ``size``, evenly spread along the side of each frame that is left over.

    Args:
        heights, widths: of B frames.
        size: height and width of what the model sees.
        views: boxes of each frame; one lies in the middle.
        centre: with one view, share of the frame's side that it spans.
    """
    frame = np.stack([heights, widths], axis=1).astype(np.float64)
    scale = (frame / np.array(size)).min(axis=1, keepdims=True) * (centre if views == 1 else 1.0)
    box = np.maximum(1, np.rint(scale * np.array(size)))
    share = np.full(1, 0.5) if views == 1 else np.linspace(0.0, 1.0, views)
    corner = np.floor((frame - box)[:, None] * share[None, :, None] + 0.5 * (views > 1))
    return np.concatenate([corner, np.broadcast_to(box[:, None], corner.shape)], axis=2).astype(np.int64)


class VideoDataset(Dataset):
    """Clips: for training a random part of each video in one random crop, for evaluation the middle of ``clips`` even parts.

    A video that is shorter than a clip shows its last frame until the end.

    Args:
        source: the videos.
        config: how they become clips; ``frames`` and ``size`` are given.
    """

    noun = "videos"
    config: VideoConfig

    def __init__(self, source: Source, config: VideoConfig) -> None:
        super().__init__(source, config)
        if config.size is None or config.frames is None:
            raise ConfigError("video.size and video.frames are not set")
        self.size, self.frames, self.views = ImageConfig.sides(config.size), config.frames, config.views
        # 0..255: what crop_resize gives
        self._mean, self._std = (
            255 * np.array(values, dtype=np.float32).reshape(-1, 1, 1)
            for values in constants(source.channels, config.mean, config.std)
        )
        self._side = 2 * min(self.size) if config.shrink is None else config.shrink
        self._kept: OrderedDict[int, Frames] = OrderedDict()
        self._room = config.cache * 2**20

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of one clip."""
        return (self.source.channels, self.frames, *self.size)

    def draw(self, step: int, indices: Indices, seed: int) -> Float[Tensor, "B C T H W"]:
        """Training batch: a random part of each video, one random crop for all its frames, perhaps mirrored."""
        index = np.asarray(indices, dtype=np.int64)
        starts = uniform(seed, "data/clip", step, index, 1)[:, 0]
        films = [self.read(i, start=u)[0][0] for i, u in zip(index.tolist(), starts.tolist(), strict=True)]
        heights, widths = [f.shape[2] for f in films], [f.shape[3] for f in films]
        boxes = crop_boxes(
            seed, step, index, heights, widths, self.config.crop_scale, self.config.crop_aspect
        )
        frames = [frame for film in films for frame in film]
        batch = crop_resize(frames, np.repeat(boxes, self.frames, axis=0), self.size)
        batch = batch.unflatten(0, (len(films), self.frames))
        if self.config.flip:
            mirrored = torch.from_numpy(flips(seed, step, index))
            batch[mirrored] = batch[mirrored].flip(-1)
        return self._normalise(batch).transpose(1, 2)

    def cropped(self, scale: tuple[float, float]) -> VideoDataset:
        """The same with crops of this least and largest share of the area."""
        found = copy.copy(self)
        found.config = replace(self.config, crop_scale=scale)
        found._kept = OrderedDict()
        return found

    def finish(self, samples: list[Any]) -> Float[Tensor, "B *clips C T H W"]:
        """Evaluation clips (B, C, T, H, W); (B, S, C, T, H, W) where there are several of each video; (B, V, S, C, T, H, W) where
        there are several views of each of them."""
        frames = [frame for clips in samples for clip in clips for frame in clip]
        views, centre = self.config.views, self.config.centre
        if views == 1 and centre == 1:
            batch = resize_centre(frames, self.size)
        else:
            heights, widths = [f.shape[1] for f in frames], [f.shape[2] for f in frames]
            boxes = sliding_boxes(heights, widths, self.size, views, centre)
            batch = crop_resize([f for f in frames for _ in range(views)], boxes.reshape(-1, 4), self.size)
        batch = batch.unflatten(0, (len(samples), self.config.clips, self.frames, views))
        batch = self._normalise(batch).permute(0, 3, 1, 4, 2, 5, 6)
        if views > 1:
            return batch
        return batch[:, 0, 0] if self.config.clips == 1 else batch[:, 0]

    def attempt(self, i: int, instead: str = "it is left out", start: float | None = None) -> Any | None:
        """(S, T, C, h, w) frames of video ``i``, or None when it cannot be read, which is counted.

        Args:
            i: index of the video.
            instead: what happens when it is broken, for the warning.
            start: where the clip begins, 0..1 of the places it can; None: the clips of evaluation.
        """
        try:
            return self._clips(i, start)
        except DataError as error:
            self._count_broken(i, error, instead)
            return None

    def _clips(self, i: int, start: float | None) -> UInt8[Tensor, "S T C h w"]:
        frames = self._kept.get(i)
        film: Any = None
        if frames is None:
            film = self.source.read(i)
            if film.rate * film.seconds * self._bytes <= self.config.cache * 2**20 / 4:
                frames = film.read(side=self._side)
                self._keep(i, frames)
        # The time of the last frame.
        last = float(frames.times[-1]) if frames else film.seconds - 1 / film.rate
        offsets = np.arange(self.frames) * self.config.spacing(frames.rate if frames else film.rate)
        free = max(0.0, last - float(offsets[-1]))
        shares = (np.arange(self.config.clips) + 0.5) / self.config.clips if start is None else [start]
        found = []
        for share in shares:
            times = share * free + offsets
            part = frames or film.read(float(times[0]), float(times[-1]), self._side)
            found.append(part.at(times))
        return torch.stack(found)

    @property
    def _bytes(self) -> int:
        """Roughly those of a decoded frame."""
        return 3 * (self._side or 480) ** 2 * 2

    def _keep(self, i: int, frames: Frames) -> None:
        self._kept[i] = frames
        self._room -= frames.pixels.nbytes
        while self._room < 0 and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._room += old.pixels.nbytes

    def _normalise(self, batch: Tensor) -> Tensor:
        values = batch.numpy()
        np.subtract(values, self._mean, out=values)
        np.divide(values, self._std, out=values)
        return batch

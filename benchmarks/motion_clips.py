"""Clips made of photographs whose label is the direction of a motion: no single frame tells it.

``object``: a square cut from one photograph moves over another one that stands still. ``pan``: a window moves over a photograph,
so that all of the picture moves. In both, where the moving thing is in the middle of the clip is drawn independently of where it
goes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from anyjepa.randomness import uniform

DIRECTIONS = 8
Scene = Literal["object", "pan"]


def moving_clips(
    photos: np.ndarray,
    index: np.ndarray,
    seed: int,
    scene: Scene,
    *,
    frames: int = 8,
    side: int = 32,
    square: int = 16,
    speed: float = 1.5,
) -> tuple[Tensor, np.ndarray]:
    """Clips (B, T, 3, side, side) of bytes and their directions 0..7, in steps of 45 degrees.

    Args:
        photos: (P, 3, h, w) bytes, larger than a frame.
        index: numbers of the clips (B,): clip and label are functions of seed and number.
        seed: of all draws.
        scene: what moves.
        frames, side: size of a clip.
        square: side of the moving object.
        speed: pixels from one frame to the next, rounded to whole places.
    """
    u = uniform(seed, f"benchmark/motion/{scene}", 0, index, 9)
    label = (u[:, 0] * DIRECTIONS).astype(np.int64)
    angle = label * 2 * np.pi / DIRECTIONS
    time = np.arange(frames) - (frames - 1) / 2
    reach = int(np.ceil(speed * (frames - 1) / 2))
    first, second = ((u[:, k] * len(photos)).astype(np.int64) for k in (1, 2))
    # How far a window of a photograph may be shifted.
    spare = np.array(photos.shape[2:]) - side
    path = speed * time[None, :, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)[:, None, :]
    if scene == "pan":
        middle = reach + u[:, 3:5] * (spare - 2 * reach)
        return _windows(photos, first, np.rint(middle[:, None] + path).astype(np.int64), side), label
    still = np.repeat((u[:, None, 3:5] * (spare + 1)).astype(np.int64), frames, axis=1)
    clips = _windows(photos, first, still, side)
    cut = (u[:, None, 5:7] * (np.array(photos.shape[2:]) - square + 1)).astype(np.int64)
    thing = _windows(photos, second, cut, square)
    middle = reach + u[:, 7:9] * (side - square - 2 * reach)
    corner = np.rint(middle[:, None] + path).astype(np.int64)
    rows, columns = (corner[:, :, axis, None] + np.arange(square) for axis in (0, 1))
    b, t = np.arange(len(index))[:, None, None, None], np.arange(frames)[None, :, None, None]
    pixels = clips.numpy()
    # Colours last: indexed axes around a slice come first.
    pixels.transpose(0, 1, 3, 4, 2)[b, t, rows[..., :, None], columns[..., None, :]] = (
        thing.numpy().transpose(0, 1, 3, 4, 2)
    )
    return clips, label


def _windows(photos: np.ndarray, which: np.ndarray, corner: np.ndarray, side: int) -> Tensor:
    """(B, T, 3, side, side) windows of photographs ``which`` (B,) at ``corner`` (B, T, 2)."""
    rows, columns = (corner[:, :, axis, None] + np.arange(side) for axis in (0, 1))
    found = photos.transpose(0, 2, 3, 1)[
        which[:, None, None, None], rows[..., :, None], columns[..., None, :]
    ]
    return torch.from_numpy(np.ascontiguousarray(found.transpose(0, 1, 4, 2, 3)))

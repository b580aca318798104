"""What is drawn for the views of a batch: a pure function of (seed, step, sample index, view)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from anyjepa.randomness import uniform
from anyjepa.views.boxes import crop_boxes
from anyjepa.views.config import ViewConfig


@dataclass(frozen=True)
class ViewParameters:
    """What was drawn for V views of each of B images, in the order in which it is applied.

    A change that is not applied has the value that changes nothing.

    Attributes:
        box: (V, B, 4) crops as (top, left, height, width), as shares of the image's height and width.
        flip: (V, B) mirrored left to right.
        brightness, contrast, saturation: (V, B) factors; 1 changes nothing.
        hue: (V, B) turn of the colour circle as a share of it; 0 changes nothing.
        grey: (V, B) colours become shades of grey.
        blur: (V, B) standard deviation in pixels of the view; 0 changes nothing.
        solarize: (V, B) bright pixels are inverted.
    """

    box: Float[Tensor, "V B 4"]
    flip: Bool[Tensor, "V B"]
    brightness: Float[Tensor, "V B"]
    contrast: Float[Tensor, "V B"]
    saturation: Float[Tensor, "V B"]
    hue: Float[Tensor, "V B"]
    grey: Bool[Tensor, "V B"]
    blur: Float[Tensor, "V B"]
    solarize: Bool[Tensor, "V B"]


_DRAWS = 10  # numbers drawn for a view besides its crop


def draw_views(
    config: ViewConfig,
    size: tuple[int, int],
    index: NDArray[np.int64],
    views: Iterable[int],
    *,
    seed: int,
    step: int,
    purpose: str = "view",
) -> ViewParameters:
    """Parameters of some views of a batch, on the CPU.

    Args:
        config: what is random, and how much.
        size: height and width of the images.
        index: (B,) sample indices.
        views: numbers of the V views; view 3 is the same whether or not views 0, 1 and 2 are drawn.
        seed: seed of the run.
        step: optimizer step.
        purpose: draws for two purposes are independent.
    """
    drawn = [_draw(config, size, index, seed=seed, step=step, purpose=f"{purpose}/{view}") for view in views]
    return ViewParameters(
        **{f.name: torch.from_numpy(np.stack([d[f.name] for d in drawn])) for f in fields(ViewParameters)}
    )


def _draw(
    config: ViewConfig, size: tuple[int, int], index: NDArray[np.int64], *, seed: int, step: int, purpose: str
) -> dict[str, np.ndarray]:
    heights, widths = (np.full(len(index), side) for side in size)
    boxes = crop_boxes(
        seed, step, index, heights, widths, config.crop_scale, config.crop_aspect, f"{purpose}/crop"
    )
    u = uniform(seed, purpose, step, index, _DRAWS).T
    jittered = u[1] < config.jitter

    def factor(draw: np.ndarray, strength: float) -> np.ndarray:
        low, high = max(0.0, 1 - strength), 1 + strength
        return np.where(jittered, low + draw * (high - low), 1.0).astype(np.float32)

    low, high = config.blur_sigma
    return {
        "box": (boxes / np.array([*size, *size])).astype(np.float32),
        "flip": u[0] < config.flip,
        "brightness": factor(u[2], config.brightness),
        "contrast": factor(u[3], config.contrast),
        "saturation": factor(u[4], config.saturation),
        "hue": np.where(jittered, (2 * u[5] - 1) * config.hue, 0.0).astype(np.float32),
        "grey": u[6] < config.greyscale,
        "blur": np.where(u[7] < config.blur, low + u[8] * (high - low), 0.0).astype(np.float32),
        "solarize": u[9] < config.solarize,
    }

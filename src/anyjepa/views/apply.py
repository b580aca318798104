"""Views of a batch of images: parameters drawn on the CPU, pixels made on the device of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyjepa.normalisation import constants
from anyjepa.views import colour
from anyjepa.views.config import ViewConfig
from anyjepa.views.draw import ViewParameters, draw_views
from anyjepa.views.resample import blur_matrix, crop_matrix, resample


def random_views(
    config: ViewConfig,
    images: Float[Tensor, "B C H W"],
    index: Int[Tensor, "B"],
    views: Iterable[int],
    *,
    seed: int,
    step: int,
    purpose: str = "view",
) -> tuple[Float[Tensor, "V B C h w"], ViewParameters]:
    """Random views of normalised images, and what was drawn for them.

    Args:
        config: what is random, and how much.
        images: normalised images, all of one size.
        index: sample indices, on the CPU.
        views: numbers of the views, one for each of the V.
        seed, step, purpose: what else the draws are a function of; see :func:`~anyjepa.views.draw.draw_views`.

    Returns:
        The views, normalised as the images are, and their parameters, on the CPU.
    """
    height, width = images.shape[2:]
    drawn = draw_views(config, (height, width), index.numpy(), views, seed=seed, step=step, purpose=purpose)
    return apply_views(config, images, drawn), drawn


def apply_views(
    config: ViewConfig, images: Float[Tensor, "B C H W"], drawn: ViewParameters
) -> Float[Tensor, "V B C h w"]:
    """The views that ``drawn`` describes: crop and flip, brightness, contrast, saturation, hue, grey, blur, solarize.

    Which changes are applied to which image is known on the CPU, so nothing waits for the device, and images without a change
    cost nothing. Computed in float32, also under autocast: half precision would round pixels.
    """
    with torch.autocast(images.device.type, enabled=False):
        x = _crop(images.float(), drawn, config.size)
        count = x.shape[:2]
        x = x.flatten(0, 1)
        channels = x.shape[1]
        mean, std = (x.new_tensor(v).view(-1, 1, 1) for v in constants(channels, config.mean, config.std))
        for change, amount, chosen in _changes(config, drawn, colourful=channels == 3):
            rows = chosen.flatten().nonzero().squeeze(1)
            if len(rows):
                some, here = amount.flatten()[rows].to(x.device), rows.to(x.device)
                x.index_copy_(0, here, (change(x[here] * std + mean, some) - mean) / std)
        return x.unflatten(0, count).to(images.dtype)


Change = Callable[[Tensor, Tensor], Tensor]


def _changes(
    config: ViewConfig, drawn: ViewParameters, colourful: bool
) -> list[tuple[Change, Tensor, Bool[Tensor, "V B"]]]:
    """What is done after the crop, in order: the change, its amount per view, and to which views it applies."""
    d = drawn
    shades = [
        (colour.brightness, d.brightness, d.brightness != 1),
        (colour.contrast, d.contrast, d.contrast != 1),
    ]
    colours = [
        (colour.saturation, d.saturation, d.saturation != 1),
        (colour.hue, d.hue, d.hue != 0),
        (lambda x, _: colour.grey(x).expand_as(x), d.grey, d.grey),
    ]
    rest = [
        (lambda x, sigma: _blur(x, sigma, config.blur_kernel), d.blur, d.blur > 0),
        (lambda x, _: colour.solarize(x), d.solarize, d.solarize),
    ]
    return [*shades, *(colours if colourful else []), *rest]


def _crop(
    images: Float[Tensor, "B C H W"], drawn: ViewParameters, size: tuple[int, int] | None
) -> Float[Tensor, "V B C h w"]:
    height, width = images.shape[2:]
    h, w = size or (height, width)
    top, left, tall, wide = (drawn.box * torch.tensor([height, width, height, width])).unbind(-1)
    device = images.device
    rows = crop_matrix(top.to(device), tall.to(device), height, h)
    columns = crop_matrix(left.to(device), wide.to(device), width, w, drawn.flip.to(device))
    return resample(images, rows, columns)


def _blur(x: Float[Tensor, "B C H W"], sigma: Float[Tensor, "B"], kernel: int) -> Float[Tensor, "B C H W"]:
    height, width = x.shape[2:]
    rows, columns = (blur_matrix(sigma, kernel, pixels)[None] for pixels in (height, width))
    return resample(x, rows, columns)[0]

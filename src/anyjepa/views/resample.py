"""Crop, resize, mirror and blur as products with one matrix per image and axis: exact, and one batch of products."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def resample(
    images: Float[Tensor, "B C H W"], rows: Float[Tensor, "V B h H"], columns: Float[Tensor, "V B w W"]
) -> Float[Tensor, "V B C h w"]:
    """Every image with its rows and its columns replaced by weighted sums of them, once for each view."""
    _, b, h, height = rows.shape
    channels, width = images.shape[1], images.shape[3]
    x = rows @ images.transpose(1, 2).reshape(b, height, channels * width)
    x = x.unflatten(-1, (channels, width)).transpose(2, 3).flatten(2, 3)  # (V, B, C h, W)
    return (x @ columns.transpose(-1, -2)).unflatten(2, (channels, h))


def crop_matrix(
    start: Float[Tensor, "V B"],
    length: Float[Tensor, "V B"],
    pixels: int,
    size: int,
    reverse: Bool[Tensor, "V B"] | None = None,
) -> Float[Tensor, "V B size pixels"]:
    """Weights that cut ``start .. start + length`` out of an axis and resize it to ``size``, antialiased.

    Triangle filters as wide as the resize shrinks, as in ``F.interpolate(mode="bilinear", antialias=True)`` of the crop.

    Args:
        start: first pixel of the crop.
        length: its pixels.
        pixels: length of the axis.
        size: length of the result.
        reverse: mirror the result.
    """
    start, length = start[..., None, None], length[..., None, None]
    step = length / size
    position = torch.arange(pixels, device=start.device) + 0.5 - start
    centre = (torch.arange(size, device=start.device)[:, None] + 0.5) * step
    if reverse is not None:
        centre = torch.where(reverse[..., None, None], length - centre, centre)
    weight = (1 - (position - centre).abs() / step.clamp(min=1)).clamp(min=0)
    weight = weight * ((position > 0) & (position < length))
    return weight / weight.sum(dim=-1, keepdim=True)


def blur_matrix(sigma: Float[Tensor, "B"], kernel: int, pixels: int) -> Float[Tensor, "B pixels pixels"]:
    """Weights that blur an axis with a sampled Gaussian of ``kernel`` pixels, mirrored at both ends.

    Args:
        sigma: standard deviation in pixels, above 0.
        kernel: odd number of pixels.
        pixels: length of the axis; may be shorter than the kernel.
    """
    offset = torch.arange(kernel, device=sigma.device) - kernel // 2
    weight = torch.softmax(-0.5 * (offset / sigma[:, None]).square(), dim=-1)
    # Mirrored without repeating the border pixel: 2 1 0 1 2 3 ...
    period = max(1, 2 * (pixels - 1))
    source = (torch.arange(pixels, device=sigma.device)[:, None] + offset).remainder(period)
    source = torch.minimum(source, period - source).clamp(max=pixels - 1)
    spread = torch.zeros(len(sigma), pixels, pixels, device=sigma.device, dtype=weight.dtype)
    return spread.scatter_add_(
        2, source.expand(len(sigma), -1, -1), weight[:, None].expand(-1, pixels, -1).contiguous()
    )

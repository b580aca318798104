"""Channel constants of images: what a loader takes off and divides by, and what a view must put back to see pixels."""

from __future__ import annotations

from collections.abc import Sequence

from anyjepa.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel mean and standard deviation of ImageNet, in 0..1, as all I-JEPA configs use them."""


def constants(
    channels: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in 0..1. None: ImageNet's for 3 channels, 0.5 otherwise.

    Raises:
        ConfigError: there are not as many values as channels.
    """
    plain = (0.5,) * channels
    found = (
        tuple(mean or (IMAGENET_MEAN if channels == 3 else plain)),
        tuple(std or (IMAGENET_STD if channels == 3 else plain)),
    )
    for name, values in zip(("mean", "std"), found, strict=True):
        if len(values) != channels:
            raise ConfigError(f"{name} has {len(values)} values, but the images have {channels} channels")
    return found

"""The vision transformer of image methods: its sizes, what is filled in from the data, and how it is built."""

from __future__ import annotations

import math
from typing import Any

from anyjepa.errors import ConfigError
from anyjepa.nn.transformer import Encoder
from anyjepa.tokenizers.convolutions import ConvTokenizer
from anyjepa.tokenizers.patches import PatchTokenizer, patch_layout

VIT_SIZES: dict[str, dict[str, Any]] = {
    # nano is ours, the others are those of I-JEPA's official table (arXiv 2301.08243).
    "nano": dict(dim=128, depth=4, heads=4, mlp_ratio=4.0),
    "tiny": dict(dim=192, depth=12, heads=3, mlp_ratio=4.0),
    "small": dict(dim=384, depth=12, heads=6, mlp_ratio=4.0),
    "base": dict(dim=768, depth=12, heads=12, mlp_ratio=4.0),
    "large": dict(dim=1024, depth=24, heads=16, mlp_ratio=4.0),
    "huge": dict(dim=1280, depth=32, heads=16, mlp_ratio=4.0),
    "giant": dict(dim=1408, depth=40, heads=16, mlp_ratio=48 / 11),
}


def fit_vit(config: Any, shape: tuple[int, ...], method: str) -> dict[str, Any]:
    """The fields of a vision transformer that are None in ``config``, filled in.

    Args:
        config: a config with the fields size, image_size, channels, patch_size, patch_std, dim, depth, heads, mlp_ratio.
        shape: (C, H, W) of a typical sample.
        method: name of the method in errors.

    Raises:
        ConfigError: the samples are not images, or sizes do not divide.
    """
    if len(shape) != 3:
        raise ConfigError(f"{method} needs images (C, H, W), got samples of shape {tuple(shape)}")
    side = config.image_size or ((224, 224) if min(shape[1:]) >= 224 else (shape[1], shape[2]))
    channels, patch = config.channels or shape[0], config.patch_size or _patch_for(side)
    found = {
        **{
            k: v if getattr(config, k) is None else getattr(config, k)
            for k, v in VIT_SIZES[config.size].items()
        },
        "image_size": side,
        "channels": channels,
        "patch_size": patch,
        "patch_std": config.patch_std or 0.02 * math.sqrt(768 / (channels * patch**2)),
    }
    check_width(found["dim"], found["heads"], "dim")
    patch_layout(side, (patch, patch))
    return found


def check_width(width: int, heads: int, what: str) -> None:
    """Raise ConfigError when heads or the 2-D sin-cos positions do not divide a width, named ``what``."""
    if width % heads:
        raise ConfigError(
            f"{what}={width} is not divisible by {heads} heads: use {width // heads * heads} or other heads"
        )
    if width % 4:
        raise ConfigError(f"{what}={width} must be a multiple of 4 for 2-D sin-cos positions")


def build_vit(c: Any) -> Encoder:
    """The encoder of a config filled in by :func:`fit_vit`; its weights are yet to be initialised."""
    tokenizer = ConvTokenizer if c.stem == "conv" else PatchTokenizer
    return Encoder(
        tokenizer(c.image_size, (c.patch_size, c.patch_size), c.channels, c.dim),
        dim=c.dim,
        depth=c.depth,
        heads=c.heads,
        mlp_ratio=c.mlp_ratio,
        positions=c.positions,
        registers=c.registers,
        drop_path=c.drop_path,
    )


def _patch_for(side: tuple[int, int]) -> int:
    """The largest usual patch that leaves at least 7 tokens along the shorter side."""
    for patch in (16, 14, 12, 8, 7, 6, 5, 4, 3, 2, 1):
        if side[0] % patch == 0 and side[1] % patch == 0 and min(side) // patch >= 7:
            return patch
    raise ConfigError(
        f"images of {side[0]}x{side[1]} are too small: at least 7x7 pixels; set image_size to enlarge them"
    )

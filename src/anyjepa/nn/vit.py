"""The vision transformer of image methods: its fields and sizes, what is filled in from the data, and how it is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from anyjepa.errors import ConfigError, nearest
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


@dataclass(frozen=True)
class ViTShape:
    """How large a vision transformer is. None means: from ``size`` or from the data."""

    size: str = "tiny"
    """One dial for all parts: nano (ours, for 32-pixel images), tiny, small, base, large, huge, giant (I-JEPA's table)."""
    image_size: tuple[int, int] | None = None
    """Input height and width in pixels; None: from the data (224 in the papers)."""
    channels: int | None = None
    """Input channels; None: from the data."""
    patch_size: int | None = None
    """Side of a patch in pixels; None: from the image size (I-JEPA: 16, or 14 for huge; LeJEPA's minimal code: 8)."""
    dim: int | None = None
    """Width of the encoder."""
    depth: int | None = None
    """Blocks of the encoder."""
    heads: int | None = None
    """Attention heads of the encoder."""
    mlp_ratio: float | None = None
    """Hidden width of the MLPs over the width."""

    def __post_init__(self) -> None:
        if self.size not in VIT_SIZES:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, VIT_SIZES)}")

    @property
    def default_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) to fit to when there is no data: the papers', unless the config says otherwise."""
        height, width = self.image_size or (224, 224)
        return (self.channels or 3, height, width)

    @property
    def images(self) -> str:
        """Images and tokens of a fitted config, in words."""
        (height, width), patch = self.image_size or (0, 0), self.patch_size or 1
        return f"images {height}x{width}, patch {patch}: {height // patch}x{width // patch} tokens"


@dataclass(frozen=True)
class ViTConfig(ViTShape):
    """What the configs of most methods with one vision transformer share. None means: from ``size`` or from the data."""

    stem: Literal["patch", "conv"] = "patch"
    """How patches become tokens: a linear projection (papers), or overlapping convolutions, from which small models learn much
    faster; patch_size is then a power of two."""
    positions: Literal["sincos", "learned", "rotary", "none"] = "sincos"
    """Positions of the encoder: fixed 2-D sin-cos in I-JEPA. A smaller view gets those of the middle of the grid."""
    registers: int = 0
    """Learned extra tokens (none in I-JEPA)."""
    drop_path: float = 0.0
    """Stochastic depth of the encoder (0 in I-JEPA), but not of a copy that makes targets."""
    patch_std: float | None = None
    """Standard deviation of the initial patch projection. The official 0.02 fits 16x16 colour patches: with fewer values per
    patch the image drowns in the positions. None: 0.02 * sqrt(768 / values), the
    same for those patches, and tokens of the same size for all others."""


def fit_vit(config: ViTConfig, shape: tuple[int, ...], method: str) -> dict[str, Any]:
    """The fields of a vision transformer that are None in ``config``, filled in; see :func:`fit_shape`."""
    found = fit_shape(config, shape, method)
    values = found["channels"] * found["patch_size"] ** 2
    return {**found, "patch_std": config.patch_std or 0.02 * math.sqrt(768 / values)}


def fit_shape(config: ViTShape, shape: tuple[int, ...], method: str) -> dict[str, Any]:
    """The sizes of a vision transformer that are None in ``config``, filled in.

    Args:
        config: the config.
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

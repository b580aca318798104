"""Residual convolutional networks (He et al. 2015, arXiv 1512.03385), their parts named as in published weights of ResNet-18."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import CheckpointError
from anyjepa.nn.batchnorm import MapBatchNorm

Stem = Literal["standard", "small", "half"]
Norm = Literal["batch", "group"]
RESNET18 = ((64, 128, 256, 512), (2, 2, 2, 2))
"""Widths and blocks of its stages; 11 176 512 parameters."""


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "batch":
        return MapBatchNorm(channels)
    # 16 channels to a group, or fewer where that does not divide.
    return nn.GroupNorm(next(g for g in (max(1, channels // 16), 4, 2, 1) if channels % g == 0), channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where sizes differ."""

    def __init__(self, before: int, after: int, stride: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = _norm(norm, after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = _norm(norm, after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), _norm(norm, after))
            if stride != 1 or before != after
            else None
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The map of features of the block."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)).add_(shortcut))


class ResNet(nn.Module):
    """Stem and stages of residual blocks, without a head.

    Args:
        channels: of the images.
        widths: of the stages; each but the first halves height and width.
        blocks: residual blocks of each stage.
        stem: ``"standard"`` (7x7 of stride 2, then a maximum over 3x3 of stride 2), ``"small"`` (3x3 of stride 1, for images of
            32 pixels), or ``"half"`` (3x3 of stride 2: a quarter of the cost of small).
        norm: ``"batch"``, or ``"group"`` for small batches or where samples must not see each other.

    Attributes:
        width: channels of the last map.
        stride: pixels of the image to a step of it.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        stem: Stem = "standard",
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        first = widths[0]
        kernel, stride = {"standard": (7, 2), "small": (3, 1), "half": (3, 2)}[stem]
        self.conv1 = nn.Conv2d(channels, first, kernel, stride, kernel // 2, bias=False)
        self.bn1 = _norm(norm, first)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "standard" else nn.Identity()
        self.depth = len(widths)
        before = first
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            stage = nn.Sequential()
            for j in range(count):
                stage.append(ResidualBlock(before, width, 2 if i > 0 and j == 0 else 1, norm))
                before = width
            setattr(self, f"layer{i + 1}", stage)
        self.width = before
        self.stride = stride * (2 if stem == "standard" else 1) * 2 ** (len(widths) - 1)

    def forward(self, x: Float[Tensor, "B C H W"], layer: int = -1) -> Float[Tensor, "B D h w"]:
        """The map of features after a stage.

        Args:
            x: normalised images.
            layer: number of the stage from 0; -1: the last one.

        Raises:
            IndexError: there is no such stage.
        """
        last = range(self.depth)[layer]
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(last + 1):
            x = getattr(self, f"layer{i + 1}")(x)
        return x

    def initialise(self, zero_last: bool = True) -> None:
        """He's initialisation; with ``zero_last`` every block starts as its shortcut, the last scale in it being 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_last and isinstance(module, ResidualBlock):
                nn.init.zeros_(module.bn2.weight)  # type: ignore[arg-type]


_KIND = {"convolution": "conv", "normalization": "bn"}


def from_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trunk of a ResNet of basic blocks under our names: what ``microsoft/resnet-18`` holds in ``model.safetensors``.

    Raises:
        CheckpointError: the weights are of another network.
    """
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        words = name.removeprefix("resnet.").split(".")
        if words[0] == "classifier":
            continue
        if words[:2] == ["embedder", "embedder"] and words[2] in _KIND:
            found[f"{_KIND[words[2]]}1.{words[3]}"] = value
        elif words[:2] == ["encoder", "stages"] and words[3] == "layers" and words[-2] in _KIND:
            place = f"layer{int(words[2]) + 1}.{words[4]}"
            if words[5] == "shortcut":
                part = f"downsample.{0 if words[-2] == 'convolution' else 1}"
            else:
                part = f"{_KIND[words[-2]]}{int(words[6]) + 1}"
            found[f"{place}.{part}.{words[-1]}"] = value
        else:
            raise CheckpointError(
                f"'{name}' is no part of a ResNet of basic blocks as transformers names them"
            )
    return found

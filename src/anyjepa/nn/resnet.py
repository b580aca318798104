"""Residual convolutional networks (He et al. 2015, arXiv 1512.03385), their parts named as in published weights of ResNet-18."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

Stem = Literal["standard", "small", "half"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where sizes differ."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
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
    """

    def __init__(self, channels: int, widths: Sequence[int], blocks: Sequence[int], stem: Stem) -> None:
        super().__init__()
        first = widths[0]
        kernel, stride = {"standard": (7, 2), "small": (3, 1), "half": (3, 2)}[stem]
        self.conv1 = nn.Conv2d(channels, first, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "standard" else nn.Identity()
        self.depth = len(widths)
        before = first
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            stage = nn.Sequential()
            for j in range(count):
                stage.append(ResidualBlock(before, width, 2 if i > 0 and j == 0 else 1))
                before = width
            setattr(self, f"layer{i + 1}", stage)

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
                nn.init.zeros_(module.bn2.weight)

"""Residual networks of basic blocks (ResNet-18 and smaller ones), as trunks: a map of features, no classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import CheckpointError

Norm = Literal["batch", "group"]


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm; where a channel has one value only, which has no spread, the statistics gathered before stand in."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "batch":
        return _BatchNorm(channels)
    # 16 channels to a group, or fewer where that does not divide.
    return nn.GroupNorm(next(g for g in (max(1, channels // 16), 4, 2, 1) if channels % g == 0), channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (arXiv 1512.03385).

    Args:
        channels, width: channels of input and output.
        stride: of the first convolution, and of the shortcut.
        norm: ``"batch"`` or ``"group"``.
    """

    def __init__(self, channels: int, width: int, stride: int = 1, norm: Norm = "batch") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.norm1 = _norm(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = _norm(norm, width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), _norm(norm, width)
            )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The block's output, smaller by its stride."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem and stages of basic blocks; every stage but the first halves the map.

    Args:
        channels: of the images.
        widths: channels of each stage.
        depths: blocks of each stage; (2, 2, 2, 2) is ResNet-18 with 11 176 512 parameters.
        stem: ``"large"``: 7x7 of stride 2, then a maximum of stride 2, for photographs; ``"small"``: 3x3 of stride 1, for
            pictures of about 32 pixels.
        norm: ``"batch"`` or ``"group"`` (for small batches, or where samples must not see each other).

    Attributes:
        width: channels of the map it returns.
        stride: pixels of the image to a step of the map.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (2, 2, 2, 2),
        *,
        stem: Literal["large", "small"] = "large",
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        large = stem == "large"
        self.stem = nn.Conv2d(
            channels, widths[0], 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False
        )
        self.stem_norm = _norm(norm, widths[0])
        self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        stages, before = [], widths[0]
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = [BasicBlock(before, width, 1 if i == 0 else 2, norm)]
            blocks += [BasicBlock(width, width, 1, norm) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            before = width
        self.stages = nn.Sequential(*stages)
        self.width = before
        self.stride = (4 if large else 1) * 2 ** (len(stages) - 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The map of the last stage, (H / stride, W / stride) rounded up."""
        return self.stages(self.pool(F.relu(self.stem_norm(self.stem(x)))))

    def pooled(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """The mean of the map over its places."""
        return self(x).mean(dim=(2, 3))


_LAST = {"convolution": "conv", "normalization": "norm"}


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
        if words[:2] == ["embedder", "embedder"] and words[2] in _LAST:
            found[".".join(["stem" if words[2] == "convolution" else "stem_norm", *words[3:]])] = value
        elif words[:2] == ["encoder", "stages"] and words[3] == "layers" and words[-2] in _LAST:
            place = ["stages", words[2], words[4]]
            if words[5] == "shortcut":
                place += ["shortcut", "0" if words[-2] == "convolution" else "1"]
            else:
                place += [f"{_LAST[words[-2]]}{int(words[6]) + 1}"]
            found[".".join([*place, words[-1]])] = value
        else:
            raise CheckpointError(
                f"'{name}' is no part of a ResNet of basic blocks as transformers names them"
            )
    return found

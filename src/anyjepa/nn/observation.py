"""What a robot sees and feels now, as tokens: one for the task, one for the state, one for each place of each camera's map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError
from anyjepa.nn.chunks import Layer, map_positions
from anyjepa.nn.positions import sincos_table
from anyjepa.nn.resnet import Norm, ResNet

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class ConvStem(nn.Module):
    """Three convolutions of stride 2: a trunk for small pictures and small machines. A map of an eighth of the picture.

    Args:
        width: channels of the map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.stride = width, 8
        widths = (3, max(8, width // 4), max(8, width // 2), width)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(1, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """The map."""
        return self.layers(x)


def trunk(kind: Literal["resnet18", "conv"], dim: int, norm: Norm) -> ResNet | ConvStem:
    """What makes maps of pictures: ResNet-18, or three convolutions."""
    return ResNet(norm=norm) if kind == "resnet18" else ConvStem(dim)


class ObservationEncoder(nn.Module):
    """Tokens of an observation through self-attention layers; the same layers also read sequences of states.

    Args:
        state_size: values S of the state.
        cameras: names of the cameras, whose pictures are all of one size; none: no trunk.
        image_size: (height, width) of the pictures.
        tasks: rows of the table of tasks.
        dim, depth, heads, hidden, dropout: of the layers.
        trunk_kind, trunk_norm: see :func:`trunk`.
        length: states of a sequence.
        turn: see :func:`~anyjepa.nn.chunks.map_positions`.
        imagenet: pictures in 0..1 are brought to ImageNet's mean and spread first.
    """

    places: Tensor
    times: Tensor

    def __init__(
        self,
        state_size: int,
        cameras: Sequence[str],
        image_size: tuple[int, int],
        *,
        tasks: int,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float,
        trunk_kind: Literal["resnet18", "conv"],
        trunk_norm: Norm = "batch",
        length: int = 1,
        turn: float = 2 * math.pi,
        imagenet: bool = False,
    ) -> None:
        super().__init__()
        self.cameras, self.image_size, self.imagenet = tuple(cameras), tuple(image_size), imagenet
        self.task = nn.Embedding(tasks, dim)
        self.state = nn.Linear(state_size, dim)
        self.trunk: ResNet | ConvStem | None = None
        if cameras:
            self.trunk = trunk(trunk_kind, dim, trunk_norm)
            self.image = nn.Conv2d(self.trunk.width, dim, 1)
            stride = self.trunk.stride
            self.grid = (math.ceil(image_size[0] / stride), math.ceil(image_size[1] / stride))
            self.register_buffer("places", map_positions(*self.grid, dim, turn), persistent=False)
            # One camera needs no name; the published network has one.
            self.camera = nn.Parameter(0.02 * torch.randn(len(cameras), dim)) if len(cameras) > 1 else None
        self.register_buffer("times", sincos_table((length,), dim, interleaved=True), persistent=False)
        self.layers = nn.ModuleList(Layer(dim, heads, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    @property
    def tokens(self) -> int:
        """Tokens of an observation."""
        return 2 + (math.prod(self.grid) * len(self.cameras) if self.cameras else 0)

    def forward(
        self,
        parts: Mapping[str, Tensor],
        *,
        extra: Float[Tensor, "B E D"] | None = None,
        layer: int = -1,
    ) -> Float[Tensor, "B N D"]:
        """Representations of an observation.

        Args:
            parts: ``state`` (B, S), or (B, T, S) of which only the first counts: the present; ``task`` (B, 1), 0 where it is
                left out; pictures (B, 3, H, W) in 0..1, or uint8, by camera.
            extra: further tokens, behind the others.
            layer: layer to read, as a Python index; the last is read after the norm.
        """
        state = parts["state"]
        state = state[:, 0] if state.ndim == 3 else state
        pieces = [self._task(parts, state)[:, None], self.state(state)[:, None]]
        if self.cameras:
            pieces.append(self._pictures(parts))
        if extra is not None:
            pieces.append(extra)
        x = torch.cat([piece.to(pieces[0].dtype) for piece in pieces], dim=1)
        return self._through(x, None, layer)

    def sequence(
        self, parts: Mapping[str, Tensor], valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """Representations of a sequence of states, each in the light of the others and of the task; no pictures.

        Args:
            parts: ``state`` (B, T, S), ``task`` (B, 1).
            valid: False where a state is padding: nobody attends to it.
        """
        state = parts["state"]
        x = self.state(state) + self.times[: state.shape[1]]
        x = torch.cat([self._task(parts, state)[:, None].to(x.dtype), x], dim=1)
        if valid is not None:
            valid = torch.cat([valid.new_ones(len(valid), 1), valid], dim=1)
        return self._through(x, valid, -1)[:, 1:]

    def _through(self, x: Tensor, valid: Tensor | None, layer: int) -> Tensor:
        last = range(len(self.layers))[layer]
        for block in self.layers[: last + 1]:
            x = block(x, valid=valid)
        return self.norm(x) if last == len(self.layers) - 1 else x

    def _task(self, parts: Mapping[str, Tensor], state: Tensor) -> Tensor:
        if "task" not in parts:
            return self.task.weight[0].expand(len(state), -1)
        # Readers refuse tasks that are not known; a number out of range would end in the depths of an embedding.
        number = parts["task"].reshape(len(state)).round().long()
        return self.task(number.clamp(0, self.task.num_embeddings - 1))

    def _pictures(self, parts: Mapping[str, Tensor]) -> Tensor:
        assert self.trunk is not None
        stacked = torch.stack([parts[camera] for camera in self.cameras], dim=1)
        pixels = as_pixels(stacked.flatten(0, 1), self.imagenet)
        tokens = self.image(self.trunk(pixels)).flatten(2).transpose(1, 2) + self.places
        tokens = tokens.unflatten(0, (len(stacked), len(self.cameras)))
        if self.camera is not None:
            tokens = tokens + self.camera[:, None]
        return tokens.flatten(1, 2)


def as_pixels(pictures: Tensor, imagenet: bool) -> Float[Tensor, "B 3 H W"]:
    """Pictures, uint8 or floats in 0..1, as a trunk takes them."""
    x = pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures
    if not imagenet:
        return x
    mean, std = (x.new_tensor(values)[:, None, None] for values in IMAGENET)
    return (x - mean) / std


def observation_parts(shape: object) -> tuple[int, tuple[str, ...], tuple[int, int]]:
    """Values of the state, cameras and size of the pictures in the shape of an observation.

    Raises:
        ConfigError: it is no observation, or its cameras are of several sizes.
    """
    if not isinstance(shape, Mapping) or len(shape.get("state", ())) != 1:
        raise ConfigError(f"policies need observations with a state (S,), got samples of shape {shape}")
    cameras = tuple(name for name, part in shape.items() if len(part) == 3)
    sizes = {tuple(shape[name]) for name in cameras}
    if len(sizes) > 1 or any(size[0] != 3 for size in sizes):
        raise ConfigError(f"cameras must give pictures (3, height, width) of one size, got {sorted(sizes)}")
    size = sizes.pop() if sizes else (3, 0, 0)
    return shape["state"][0], cameras, (size[1], size[2])

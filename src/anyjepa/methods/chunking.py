"""What policies that act in chunks have in common: the config of their parts, and how they are asked for actions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from anyjepa.bundle import Bundle, Inputs, Shape, described
from anyjepa.contract import Batch, Layout, Method, Representation
from anyjepa.errors import ConfigError, nearest
from anyjepa.nn.chunks import Layer
from anyjepa.nn.observation import ObservationEncoder, observation_parts
from anyjepa.objectives.targets import ENCODERS
from anyjepa.schedules import OptimConfig

SIZES: dict[str, dict[str, Any]] = {
    # base is the published setting; the others are ours.
    "nano": dict(trunk="conv", dim=64, depth=2, heads=4, hidden=256),
    "tiny": dict(trunk="conv", dim=128, depth=4, heads=4, hidden=512),
    "small": dict(trunk="resnet18", dim=256, depth=4, heads=8, hidden=1024),
    "base": dict(trunk="resnet18", dim=512, depth=4, heads=8, hidden=2048),
}
DEFAULT_SHAPE = {"state": (2,), "task": (1,), "image": (3, 96, 96)}
"""Push-T, which configs are fitted to when there are no data."""


@dataclass(frozen=True)
class ChunkingConfig:
    """Constants of the parts. None means: chosen from ``size`` or from the data, and printed."""

    size: str = "base"
    """One dial for all parts: nano, tiny, small (ours), base (the published setting)."""
    state_size: int | None = None
    """Values of the state; None: from the data."""
    cameras: tuple[str, ...] | None = None
    """Names of the cameras; None: from the data."""
    image_size: tuple[int, int] | None = None
    """Height and width of the pictures; None: from the data."""
    action_size: int | None = None
    """Values of an action; None: from the data, or 2."""
    chunk: int | None = None
    """Actions that are predicted at once; None: from the data, or 30."""
    tasks: int = 50
    """Rows of the table of tasks (code), more where the data have more."""
    trunk: Literal["resnet18", "conv"] | None = None
    """What sees pictures: ResNet-18 (paper), or three convolutions."""
    trunk_norm: Literal["batch", "group"] = "batch"
    """Norm of the ResNet (batch in the paper; group where batches are small or spread over machines)."""
    image_norm: Literal["unit", "imagenet"] = "unit"
    """Pixels in 0..1 as they are (code, although its ResNet was trained with ImageNet's mean and spread), or with these."""
    dim: int | None = None
    """Width of the encoder and of the decoder of actions (512)."""
    depth: int | None = None
    """Layers of the encoder (4)."""
    heads: int | None = None
    """Attention heads (8)."""
    hidden: int | None = None
    """Width inside the feed-forward networks (2048)."""
    dropout: float = 0.1
    """Dropout of attention weights and feed-forward networks."""
    seed: int = 0
    """Seed of the initial weights, and of the draws of a bare bundle."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            steps=4000,
            warmup_steps=None,
            start_lr=0.0,
            lr=6e-4,
            final_lr=0.0,
            weight_decay=0.1,
            final_weight_decay=0.1,
            clip=1.0,
        )
    )
    """Training length and AdamW (code: 4000 steps of batches of 128, warm-up over 4 % of them: `optim.warmup_steps` = 160)."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, SIZES)}")
        for name in ("state_size", "action_size", "chunk", "tasks", "depth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {value}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must lie in [0, 1), got {self.dropout}")
        for name, choices in (
            ("trunk", (None, "resnet18", "conv")),
            ("trunk_norm", ("batch", "group")),
            ("image_norm", ("unit", "imagenet")),
        ):
            if getattr(self, name) not in choices:
                valid = nearest(str(getattr(self, name)), [c for c in choices if c])
                raise ConfigError(f"unknown {name} '{getattr(self, name)}': {valid}")

    @property
    def default_shape(self) -> Shape:
        """Shape to fit to when there are no data: that of Push-T, unless the config says otherwise."""
        cameras = ("image",) if self.cameras is None else self.cameras
        size = self.image_size or (96, 96)
        return {
            "state": (self.state_size or 2,),
            "task": (1,),
            **{camera: (3, *size) for camera in cameras},
        }

    def fit(self, shape: Any = None) -> Any:
        """The same config with every None filled in, from ``size`` and from the shape of an observation.

        Raises:
            ConfigError: the shape is no observation, or sizes do not divide.
        """
        state, cameras, size = observation_parts(self.default_shape if shape is None else shape)
        for name, found in (("state_size", state), ("cameras", cameras), ("image_size", size)):
            chosen = getattr(self, name)
            if chosen is not None and tuple(_plural(chosen)) != tuple(_plural(found)):
                raise ConfigError(f"model.{name}={chosen}, but the data have {found}: leave it out")
        sized = {k: v for k, v in SIZES[self.size].items() if getattr(self, k) is None}
        filled: Any = replace(
            self,
            **sized,
            state_size=state,
            cameras=cameras,
            image_size=size,
            action_size=self.action_size or 2,
            chunk=self.chunk or 30,
        )
        if filled.dim % filled.heads or filled.dim % 4:
            raise ConfigError(f"dim={filled.dim} must be divisible by heads={filled.heads} and by 4")
        return filled

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        c: Any = self
        seen = (
            f"{len(c.cameras)} cameras of {c.image_size[0]} x {c.image_size[1]} by {c.trunk}, "
            if c.cameras
            else ""
        )
        return (
            f"size={c.size}: {seen}state of {c.state_size}; {c.dim} wide, {c.depth} layers, {c.heads} heads; chunks of {c.chunk} "
            f"actions of {c.action_size}"
        )


def _plural(value: Any) -> Any:
    return value if isinstance(value, tuple | list) else (value,)


class ChunkingPolicy(Method):
    """A method that can be asked what to do: :meth:`actions`. Subclasses have an ``encoder_module``."""

    config: Any
    step: int

    def actions(self, x: Bundle) -> Float[Tensor, "B n A"]:
        """The actions of the next ``chunk`` moments, as the training data are scaled.

        Args:
            x: observations, see :meth:`input_shape`; the caller decides about gradients and ``eval()``.
        """
        raise NotImplementedError

    def input_shape(self) -> Shape:
        """An observation: ``state`` (S,), ``task`` (1,) and a picture (3, H, W) of each camera."""
        c = self.config
        pictures = {camera: (3, *c.image_size) for camera in c.cameras}
        return {"state": (c.state_size,), "task": (1,), **pictures}

    def compile_units(self) -> Iterable[nn.Module]:
        """The layers."""
        return [module for module in self.modules() if isinstance(module, Layer)]

    def as_batch(self, batch: Batch | Inputs) -> Batch:
        """A bare bundle as a batch of samples 0..B-1 at the current step; what it holds is checked.

        Raises:
            ConfigError: a part is missing or of another shape.
        """
        if not isinstance(batch, Batch):
            if not isinstance(batch, Bundle):
                raise ConfigError(
                    f"expected input with the parts {described(self.input_shape())}, got a bare tensor"
                )
            batch = Batch(batch, torch.arange(batch.samples), step=self.step, seed=self.config.seed)
        c, inputs = self.config, batch.inputs
        self.check(inputs, training=True)
        if tuple(inputs["action"].shape[1:]) != (c.chunk, c.action_size):
            raise ConfigError(
                f"expected input with actions (B, {c.chunk}, {c.action_size}), got {tuple(inputs['action'].shape)}"
            )
        found = tuple(inputs["state"].shape)
        if len(found) != 3 or found[1] != getattr(c, "horizon", found[1]):
            length = getattr(c, "horizon", "T")
            raise ConfigError(f"expected input with states (B, {length}, {c.state_size}), got {found}")
        return batch

    def check(self, x: Any, *, training: bool = False) -> None:
        """Raise ConfigError unless these are observations this method takes; ``training`` allows sequences of states."""
        expected = self.input_shape()
        wrong = not isinstance(x, Bundle)
        if not wrong:
            for name, shape in expected.items():
                found = tuple(x[name].shape[1:]) if name in x else None
                optional = name == "task" and found is None
                sequence = training and name == "state" and found is not None and found[1:] == shape
                wrong = wrong or not (optional or sequence or found == shape)
        if wrong:
            raise ConfigError(f"expected input {described(expected)} for each sample, got {x!r:.200}")

    def represented(self, tokens: Float[Tensor, "B N D"], encoder: str, layer: int) -> Representation:
        """Tokens as a representation."""
        return Representation(tokens, tokens.mean(dim=1), encoder, layer, Layout((tokens.shape[1],)))

    def named(self, encoder: str) -> str:
        """The name of an encoder; raises ConfigError when there is none of it."""
        if encoder not in ENCODERS:
            raise ConfigError(f"unknown encoder '{encoder}': {nearest(encoder, ENCODERS)}")
        return encoder


def observation_encoder(c: Any, **rest: Any) -> ObservationEncoder:
    """The encoder of observations of a fitted config; ``rest``: what else a method asks of it."""
    return ObservationEncoder(
        c.state_size,
        c.cameras,
        c.image_size,
        tasks=c.tasks,
        dim=c.dim,
        depth=c.depth,
        heads=c.heads,
        hidden=c.hidden,
        dropout=c.dropout,
        trunk_kind=c.trunk,
        trunk_norm=c.trunk_norm,
        imagenet=c.image_norm == "imagenet",
        **rest,
    )


def inside(parts: Bundle, pad: str) -> Bool[Tensor, "B T"]:
    """True where a sequence is within its episode."""
    return parts[pad] < 0.5


def mean_inside(error: Float[Tensor, "B T E"], valid: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Mean over the last axis and over the places that are within their episode."""
    weight = valid.to(error.dtype)
    return (error.mean(dim=-1) * weight).sum() / weight.sum().clamp(min=1)


def action_loss(
    predicted: Float[Tensor, "B n A"], parts: Bundle, measure: Literal["l1", "l2"] = "l1"
) -> Float[Tensor, ""]:
    """Distance of actions, over the moments within the episode."""
    difference = predicted.float() - parts["action"].float()
    error = difference.abs() if measure == "l1" else difference.square()
    return mean_inside(error, inside(parts, "action_pad"))

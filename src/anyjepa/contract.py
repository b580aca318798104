"""The outer contract: what every method is, takes and returns.

A :class:`Method` is a plain ``torch.nn.Module``. Training, probes, monitors and pictures know this page and nothing of any
concrete method::

    output = method(batch)                      # Output
    output.loss.backward(); optimizer.step()
    method.after_step(step)                     # the target encoder moves here
    z = method.encode(x)                        # Representation

Axis letters: B batch, N tokens, K context tokens, M target blocks, P tokens of a target block, D width, C channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyjepa.bundle import Inputs, Shape
from anyjepa.schedules import OptimConfig


@dataclass(frozen=True)
class Layout:
    """How the tokens of one sample lie: a grid in raster order, last axis fastest.

    A sequence is a grid of one axis, an image of two, a clip of three, a set of columns again one.
    """

    grid: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Number of tokens N."""
        n = 1
        for side in self.grid:
            n *= side
        return n


@dataclass
class Masks:
    """Which tokens are context and which are targets, as indices into the raster order of the layout.

    Attributes:
        context: (B, K) ascending indices of the context tokens.
        targets: (B, M, P) indices of the M target blocks of each sample.
        context_valid: (B, K), False where ``context`` is padding; None when nothing is padded.
    """

    context: Int[Tensor, "B K"]
    targets: Int[Tensor, "B M P"]
    context_valid: Bool[Tensor, "B K"] | None = None

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on ``device``."""
        valid = self.context_valid
        return Masks(
            self.context.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            None if valid is None else valid.to(device, non_blocking=True),
        )


@dataclass
class Batch:
    """Samples, and the numbers that name every random draw about them.

    Attributes:
        inputs: (B, C, ...) normalised float input, or a bundle of several such parts: what the training data draw.
        index: (B,) position of each sample in its data set. Stays on the CPU.
        step: optimizer step, counted from 0.
        seed: seed of the run.
        peers: (G,) indices of all samples of this optimizer step, over all processes and accumulated micro-batches. A masker
            that cuts masks to a common length takes the length from these, so that neither the number of processes nor the
            accumulation changes a draw. None: this batch is the whole step.
    """

    inputs: Inputs
    index: Int[Tensor, "B"]
    step: int = 0
    seed: int = 0
    peers: Int[Tensor, "G"] | None = None

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The same batch with its inputs on ``device``; indices stay where masks are drawn, on the CPU."""
        return replace(self, inputs=self.inputs.to(device, non_blocking=non_blocking))


@dataclass
class Output:
    """What one training forward computes, with every intermediate that monitors and pictures read.

    Attributes:
        loss: scalar to differentiate.
        losses: its named parts, detached scalars.
        context: (B, K, D) representations of the context tokens.
        predicted: (B, M, P, E) predictions of the target representations; E is D unless a projector comes between.
        target: same shape, the representations to be predicted (no gradient).
        masks: the indices behind them.
    """

    loss: Float[Tensor, ""]
    losses: dict[str, Tensor] = field(default_factory=dict)
    context: Float[Tensor, "B K D"] | None = None
    predicted: Float[Tensor, "B M P E"] | None = None
    target: Float[Tensor, "B M P E"] | None = None
    masks: Masks | None = None


@dataclass
class Representation:
    """What a trained encoder says about its input, and which encoder said it.

    Attributes:
        tokens: (B, N, D).
        pooled: (B, D), the mean over tokens.
        encoder: ``"target"`` or ``"context"``.
        layer: index of the block the tokens come from; -1 is the last one, after its final norm.
        layout: how the tokens lie.
    """

    tokens: Float[Tensor, "B N D"]
    pooled: Float[Tensor, "B D"]
    encoder: str
    layer: int
    layout: Layout


class Method(nn.Module):
    """Base class of all methods.

    A method keeps its frozen config in ``config`` and its training length and optimizer constants in ``config.optim``.
    """

    name: ClassVar[str]
    config: Any

    @property
    def optim(self) -> OptimConfig:
        """Schedules and optimizer constants, of the paper unless changed."""
        return self.config.optim

    def forward(self, batch: Batch | Inputs) -> Output:
        """Loss and intermediates of one batch. Bare inputs are a batch of samples 0..B-1 of the current step."""
        raise NotImplementedError

    def after_step(self, step: int) -> None:
        """Called after the optimizer step number ``step`` (from 0): moving averages are updated here."""

    def rescue(self) -> str | None:
        """Switch on the method's own remedy against collapse, from the next step on, by a change of ``config``.

        Called during training when a collapse is seen and the user has asked for it. It adds no parameters, and doing it again
        changes nothing.

        Returns:
            What was done, in words; None when the method has no remedy, or has it on already.
        """
        return None

    def encode(self, x: Inputs, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of full inputs ``x`` of :meth:`input_shape`, nothing masked. The caller decides about gradients."""
        raise NotImplementedError

    def encoder_module(self, encoder: str = "target") -> nn.Module | None:
        """The module behind :meth:`encode`, for exports and for weights that come from elsewhere; None: there is no such module.

        Raises:
            ConfigError: there is no encoder of that name.
        """
        return None

    def input_shape(self) -> Shape:
        """Shape (C, ...) of one sample that :meth:`encode` expects, or that of each part of a bundle."""
        raise NotImplementedError

    def compile_units(self) -> Iterable[nn.Module]:
        """The repeated modules that are compiled one by one, and that FSDP shards one by one.

        Only modules whose parameters nobody uses but their own forward.
        """
        return ()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trainable parameters in two groups: with weight decay, and without (biases and all vectors)."""
        decay: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                (plain if parameter.ndim <= 1 or "bias" in name else decay).append(parameter)
        return [{"params": decay, "decay": True}, {"params": plain, "decay": False}]

"""What all methods that predict the outputs of a target encoder have in common: the two encoders, and how one follows the other.

A method file says what its paper says: tokens, masks, networks, loss. The rest of the outer contract stands here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from anyjepa.bundle import Inputs, samples_in
from anyjepa.contract import Batch, Method
from anyjepa.errors import ConfigError
from anyjepa.nn.predictor import Predictor
from anyjepa.nn.transformer import Block
from anyjepa.objectives.prediction import rescued
from anyjepa.objectives.targets import TargetRule
from anyjepa.schedules import ema_momentum

LAYERS = (Block, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class Predictive(Method):
    """A context encoder, a predictor, and a target encoder by a target rule.

    The config has the fields ``target`` (the target rule), ``ema`` (first and last momentum), ``regularizer``, ``seed`` and
    ``optim``, the property ``default_shape`` and the method ``fit``.

    Args:
        config: what is None in it is filled in by its ``fit``.
    """

    config: Any  # nothing in a fitted config is None
    context_encoder: Any
    predictor: Any

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config.fit(config.default_shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self.build(self.config)
        self.target = TargetRule(self.context_encoder, self.config.target)
        self.step = 0
        self.train()

    def build(self, c: Any) -> None:
        """Assign ``context_encoder``, ``predictor`` and what else there is, with their first weights, from a fitted config."""
        raise NotImplementedError

    @property
    def target_encoder(self) -> nn.Module:
        """The encoder that makes the targets."""
        return self.target.encoder(self.context_encoder)

    @property
    def targets_drop(self) -> bool:
        """Whether dropout is at work in the target encoder while the method trains: a target would be another at every look."""
        return False

    def train(self, mode: bool = True) -> Any:
        """Training mode; what the target encoder drops, see :attr:`targets_drop`."""
        super().train(mode)
        if self.target.copy is not None:
            self.target.copy.train(mode and self.targets_drop)
        return self

    def as_batch(self, batch: Batch | Inputs) -> Batch:
        """Bare inputs as a batch of samples 0..B-1 of the current step."""
        if isinstance(batch, Batch):
            return batch
        return Batch(batch, torch.arange(samples_in(batch)), step=self.step, seed=self.config.seed)

    def making_targets(self) -> Any:
        """Context in which targets are computed: without gradient unless the target rule trains them."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and self.target.has_gradient)

    def check(self, x: Any) -> None:
        """Raise ConfigError unless ``x`` are samples of :meth:`input_shape`."""
        if tuple(x.shape[1:]) != self.input_shape():
            raise ConfigError(
                f"expected input (B, {', '.join(map(str, self.input_shape()))}), got {tuple(x.shape)}"
            )

    def after_step(self, step: int) -> None:
        """Moves the target encoder by :meth:`momentum`."""
        self.step = step + 1
        self.target.update(self.context_encoder, self.momentum(step))

    def momentum(self, step: int) -> float:
        """Momentum of the update after step ``step`` = 0, 1, ...: ``m_0 + step (m_1 - m_0) / horizon``."""
        start, end = self.config.ema
        return ema_momentum(start, end, self.optim, step)

    def rescue(self) -> str | None:
        """Switches on VICReg's terms where no regularizer is at work."""
        self.config, told = rescued(self.config)
        return told

    def encoder_module(self, encoder: str = "target") -> nn.Module:
        """The ``"target"`` (default) or the ``"context"`` encoder."""
        return self.target.named(self.context_encoder, encoder)

    def compile_units(self) -> Iterable[nn.Module]:
        """The transformer layers, but for a predictor's first: its projection is also used from outside of it."""
        first = self.predictor.blocks[0] if isinstance(self.predictor, Predictor) else None
        return [module for module in self.modules() if isinstance(module, LAYERS) and module is not first]

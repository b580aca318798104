"""Target rules: where the representations to be predicted come from.

``"ema"``       an exponential moving average of the online encoder (arXiv 2006.07733; I-JEPA, V-JEPA, ...),
``"stopgrad"``  the online encoder itself, without gradient (SimSiam, arXiv 2011.10566),
``"frozen"``    a fixed copy that never moves (a teacher loaded into it, or its random start),
``"online"``    the online encoder itself, with gradient: both sides of the distance learn (LeJEPA, arXiv 2511.08544). Nothing but
                a regularizer then keeps all representations from becoming equal,
``"features"``  no encoder: fixed features of the input (:mod:`anyjepa.objectives.features`), which cannot collapse.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from anyjepa.errors import ConfigError, nearest

TARGET_RULES = ("ema", "features", "frozen", "online", "stopgrad")
ENCODERS = ("target", "context")


class TargetRule(nn.Module):
    """Holds the target encoder of an online encoder and moves it.

    Args:
        online: the encoder that is trained.
        rule: one of :data:`TARGET_RULES`.
    """

    def __init__(self, online: nn.Module, rule: str = "ema") -> None:
        super().__init__()
        if rule not in TARGET_RULES:
            raise ConfigError(f"unknown target rule '{rule}': {nearest(rule, TARGET_RULES)}")
        self.rule = rule
        self.copy = (
            None
            if rule in ("features", "online", "stopgrad")
            else copy.deepcopy(online).requires_grad_(False)
        )

    @property
    def has_gradient(self) -> bool:
        """Whether the targets are trained as well."""
        return self.rule == "online"

    def encoder(self, online: nn.Module) -> nn.Module:
        """The module that makes the targets, call it without gradient unless :attr:`has_gradient`; where none does, the online
        one."""
        return online if self.copy is None else self.copy

    def named(self, online: nn.Module, name: str) -> nn.Module:
        """The ``"target"`` encoder, or the ``"context"`` encoder, which is the online one.

        Raises:
            ConfigError: another name.
        """
        if name not in ENCODERS:
            raise ConfigError(f"unknown encoder '{name}': {nearest(name, ENCODERS)}")
        return self.encoder(online) if name == "target" else online

    def read_as(self, name: str) -> str:
        """Under which name representations of the encoder ``name`` go: with fixed features there is the context encoder only."""
        return "context" if self.rule == "features" else name

    @torch.no_grad()
    def update(self, online: nn.Module, momentum: float) -> None:
        """target <- momentum * target + (1 - momentum) * online, over all parameters at once; only ``"ema"`` moves."""
        if self.rule != "ema" or self.copy is None:
            return
        targets: list[Tensor] = list(self.copy.parameters())
        torch._foreach_lerp_(targets, list(online.parameters()), 1.0 - momentum)

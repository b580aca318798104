"""Schedules as pure functions of the step: learning rate, weight decay, EMA momentum.

A schedule has no state to save, so a resumed run cannot drift from an uninterrupted one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from anyjepa.errors import ConfigError


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedules. Defaults: I-JEPA (arXiv 2301.08243, official configs)."""

    steps: int = 10_000
    """Length of the training in optimizer steps; all schedules are laid out over it."""
    warmup_steps: int | None = None
    """Linear warm-up of the learning rate; None: 40/300 of the training, as in the official configs."""
    start_lr: float = 2e-4
    """Learning rate at the start of the warm-up."""
    lr: float = 1e-3
    """Learning rate after the warm-up."""
    final_lr: float = 1e-6
    """Learning rate at the end of the decay."""
    decay: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls after the warm-up; linear without warm-up is the cool-down of V-JEPA 2."""
    weight_decay: float = 0.04
    """Weight decay at the start."""
    final_weight_decay: float = 0.4
    """Weight decay at the end of its cosine (the paper says linear, the official code is a cosine)."""
    stretch: float = 1.0
    """Lay the schedules out over ``stretch * steps`` and stop early (`ipe_scale`; 1.0 in all I-JEPA configs)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW momentum constants."""
    eps: float = 1e-8
    """AdamW epsilon."""
    clip: float | None = None
    """Largest gradient norm; None: no clipping, as in I-JEPA."""
    from_zero: bool = False
    """Lay learning rate and weight decay out over steps 0 to steps - 1 instead of 1 to steps: the first step has the values of
    the start, the last those of the end (ECG-JEPA, official code)."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"optim.steps must be at least 1, got {self.steps}")
        if self.decay not in ("cosine", "linear"):
            raise ConfigError(f"optim.decay must be cosine or linear, got '{self.decay}'")
        if self.stretch < 1.0:
            raise ConfigError(
                f"optim.stretch must be at least 1, got {self.stretch}: schedules cannot end before training does"
            )
        if self.warmup_steps is not None and not 0 <= self.warmup_steps <= self.steps:
            raise ConfigError(
                f"optim.warmup_steps must lie in 0..steps={self.steps}, got {self.warmup_steps}"
            )

    @property
    def horizon(self) -> int:
        """Steps over which the schedules are laid out."""
        return int(self.steps * self.stretch)

    @property
    def warmup(self) -> int:
        """Warm-up length in steps."""
        return self.steps * 40 // 300 if self.warmup_steps is None else self.warmup_steps


def learning_rate(optim: OptimConfig, step: int) -> float:
    """Learning rate of step ``step`` = 1, 2, ...: linear warm-up, then cosine or straight to ``final_lr``."""
    if optim.from_zero:
        step -= 1
    if step < optim.warmup:
        return optim.start_lr + step / optim.warmup * (optim.lr - optim.start_lr)
    progress = (step - optim.warmup) / max(1, optim.horizon - optim.warmup - optim.from_zero)
    progress = min(1.0, progress)
    left = 1.0 - progress if optim.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return max(optim.final_lr, optim.final_lr + (optim.lr - optim.final_lr) * left)


def weight_decay(optim: OptimConfig, step: int) -> float:
    """Weight decay of step ``step`` = 1, 2, ...: cosine from ``weight_decay`` to ``final_weight_decay``."""
    past = step - optim.from_zero
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, past / max(1, optim.horizon - optim.from_zero))))
    return optim.final_weight_decay + (optim.weight_decay - optim.final_weight_decay) * cosine


def ema_momentum(start: float, end: float, optim: OptimConfig, step: int) -> float:
    """Momentum of the update after step ``step`` = 0, 1, ...: linear from ``start`` to ``end``; the first uses ``start``."""
    return start + (end - start) * min(1.0, step / optim.horizon)

"""CEM and MPPI: both keep a normal distribution over plans, draw candidates, and move it towards the cheap ones.

CEM (Rubinstein, "The Cross-Entropy Method for Combinatorial and Continuous Optimization", 1999; de Boer et al., "A Tutorial
on the Cross-Entropy Method", 2005): mean and spread become those of the cheapest candidates, the elites.

MPPI (Williams et al., "Information Theoretic MPC for Model-Based Reinforcement Learning", ICRA 2017; "Aggressive Driving with
Model Predictive Path Integral Control", ICRA 2016): the mean becomes that of all candidates weighted by exp(-cost /
temperature); the spread stays. The paper's price on the noise itself is left out: a plan costs only its distance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.errors import ConfigError
from anyjepa.planning.cost import GoalConfig


@dataclass(frozen=True)
class CEMConfig:
    """Cross-entropy method."""

    horizon: int = 8
    """Actions of a plan."""
    candidates: int = 256
    """Plans tried at once."""
    iterations: int = 6
    """How often the distribution is moved."""
    elites: int = 32
    """Cheapest candidates that make the next distribution."""
    spread: float = 0.5
    """Standard deviation of the first candidates, as a share of half the range of an action."""
    smallest: float = 0.01
    """Below this share of half the range the spread does not fall, so that it goes on searching."""
    inertia: float = 0.0
    """Share of the old mean and spread in the new ones (de Boer et al.: smoothing, 1 - alpha)."""
    goal: GoalConfig = field(default_factory=GoalConfig)
    """What counts as near."""

    def __post_init__(self) -> None:
        """Check what cannot be."""
        _check(self.horizon, self.candidates, self.iterations, self.spread)
        if not 2 <= self.elites <= self.candidates or not 0 <= self.inertia < 1:
            raise ConfigError(
                f"CEM needs 2 to {self.candidates} elites and an inertia in [0, 1), got {self.elites} and {self.inertia}"
            )

    def update(
        self,
        plans: Float[Tensor, "B N H A"],
        costs: Float[Tensor, "B N"],
        mean: Float[Tensor, "B H A"],
        spread: Float[Tensor, "B H A"],
    ) -> tuple[Float[Tensor, "B H A"], Float[Tensor, "B H A"]]:
        """Mean and spread of the elites; actions are in units of half their range."""
        best = costs.topk(self.elites, dim=1, largest=False).indices
        elites = plans.gather(1, best[:, :, None, None].expand(-1, -1, *plans.shape[2:]))
        new = elites.mean(dim=1)
        width = elites.std(dim=1, correction=0).clamp(min=self.smallest)
        return torch.lerp(new, mean, self.inertia), torch.lerp(width, spread, self.inertia)


@dataclass(frozen=True)
class MPPIConfig:
    """Model predictive path integral control."""

    horizon: int = 8
    """Actions of a plan."""
    candidates: int = 256
    """Plans tried at once."""
    iterations: int = 6
    """How often the distribution is moved; the paper does so once per step, from the plan of the step before."""
    spread: float = 0.5
    """Standard deviation of the candidates, as a share of half the range of an action."""
    shrink: float = 0.7
    """Factor on the spread after each iteration; 1: it stays, as in the paper."""
    temperature: float = 0.1
    """How sharply cheap candidates are preferred; in standard deviations of the costs of the candidates, so that the scale of
    a latent does not matter."""
    absolute: bool = False
    """Whether the temperature is in units of the cost itself, as in the paper."""
    goal: GoalConfig = field(default_factory=GoalConfig)
    """What counts as near."""

    def __post_init__(self) -> None:
        """Check what cannot be."""
        _check(self.horizon, self.candidates, self.iterations, self.spread)
        if self.temperature <= 0 or not 0 < self.shrink <= 1:
            raise ConfigError(
                f"MPPI needs a positive temperature and a shrink in (0, 1], got {self.temperature} and {self.shrink}"
            )

    def update(
        self,
        plans: Float[Tensor, "B N H A"],
        costs: Float[Tensor, "B N"],
        mean: Float[Tensor, "B H A"],
        spread: Float[Tensor, "B H A"],
    ) -> tuple[Float[Tensor, "B H A"], Float[Tensor, "B H A"]]:
        """The weighted mean of all candidates; actions are in units of half their range."""
        unit = 1.0 if self.absolute else costs.std(dim=1, keepdim=True).clamp(min=1e-12)
        weights = torch.softmax(-costs / (self.temperature * unit), dim=1)
        return (weights[:, :, None, None] * plans).sum(dim=1), spread * self.shrink


PlannerConfig = CEMConfig | MPPIConfig


def _check(horizon: int, candidates: int, iterations: int, spread: float) -> None:
    if horizon < 1 or candidates < 2 or iterations < 1 or spread <= 0:
        raise ConfigError(
            "a planner needs a horizon and iterations of at least 1, 2 candidates and a positive spread, got "
            f"horizon={horizon}, iterations={iterations}, candidates={candidates}, spread={spread}"
        )

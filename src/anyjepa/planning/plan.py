"""From a start and a goal to actions, through the latents of a world model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Bundle, Inputs
from anyjepa.errors import ConfigError, DataError
from anyjepa.planning.cost import path_cost
from anyjepa.planning.planners import CEMConfig, PlannerConfig
from anyjepa.planning.world import State, WorldModel
from anyjepa.randomness import derive_seed


@dataclass(frozen=True, eq=False)
class Bounds:
    """What actions may be, in the units the world model takes.

    Attributes:
        low, high: (A,) for each part of an action.
    """

    low: Float[Tensor, "A"]
    high: Float[Tensor, "A"]

    def __post_init__(self) -> None:
        """Check what cannot be."""
        if not bool((self.high > self.low).all()) or not bool((self.high - self.low).isfinite().all()):
            raise ConfigError(
                f"bounds of actions must be finite, each low below its high: got {self.low.tolist()} and {self.high.tolist()}"
            )


@dataclass(frozen=True, eq=False)
class Plan:
    """What was found for each of B starts.

    Attributes:
        actions: (B, H, A) the cheapest plan that was tried, within the bounds.
        cost: (B,) of that plan.
        costs: (B, iterations) the cheapest cost known after each iteration: never rises.
        mean: (B, H, A) of the distribution in the end.
    """

    actions: Float[Tensor, "B H A"]
    cost: Float[Tensor, "B"]
    costs: Float[Tensor, "B I"]
    mean: Float[Tensor, "B H A"]


@torch.no_grad()
def plan(
    model: WorldModel,
    start: Inputs,
    goal: Any,
    bounds: Bounds,
    planner: PlannerConfig | None = None,
    *,
    warm: Float[Tensor, "B H A"] | None = None,
    seed: int = 0,
    step: int = 0,
) -> Plan:
    """Actions that bring each start to its goal, by the model's own account.

    Args:
        model: the dynamics.
        start: (B, ...) observations.
        goal: (B, ...) observations to be reached, or (1, ...): the same for all.
        bounds: of the actions.
        planner: how they are searched; default CEM.
        warm: the mean to begin with, such as the rest of an earlier plan; default the middle of the bounds.
        seed, step: name the draws; a start's plan depends on its place in the batch, not on the others.

    Raises:
        ConfigError: the model lacks a method, or ``warm`` has another shape than a plan.
        DataError: numbers of starts and goals differ, or the model's latents are not finite.
    """
    config = planner or CEMConfig()
    require_world_model(model)
    state, target = model.start(start), model.goal(goal)
    begun = model.latent(state)
    b, n, h, a = len(begun), config.candidates, config.horizon, len(bounds.low)
    if target.shape[1:] != begun.shape[1:] or len(target) not in (1, b):
        raise DataError(
            f"{b} starts with latents {tuple(begun.shape[1:])} do not fit goals {tuple(target.shape)}: "
            "as many goals as starts, or one for all"
        )
    if warm is not None and warm.shape != (b, h, a):
        raise ConfigError(f"warm must be {b} plans of {h} actions of {a} numbers, got {tuple(warm.shape)}")
    device = begun.device
    middle = ((bounds.high + bounds.low) / 2).to(device, torch.float32)
    half = ((bounds.high - bounds.low) / 2).to(device, torch.float32)
    many = repeat(state, n)
    goals = target.expand(b, -1).repeat_interleave(n, dim=0)

    mean = torch.zeros(b, h, a, device=device) if warm is None else (warm.to(device) - middle) / half
    spread = torch.full((b, h, a), config.spread, device=device)
    best, cost = mean.clamp(-1, 1), torch.full((b,), torch.inf, device=device)
    history = []
    generators = [
        torch.Generator().manual_seed(derive_seed(seed, "planning/candidates", step, k)) for k in range(b)
    ]
    for _ in range(config.iterations):
        noise = torch.stack([torch.randn(n, h, a, generator=g) for g in generators]).to(device)
        plans = (mean[:, None] + spread[:, None] * noise).clamp(-1, 1)
        # The mean itself is a candidate: a good warm start is not lost in the noise.
        plans[:, 0] = mean.clamp(-1, 1)
        latents = rollout(model, many, (middle + half * plans).reshape(b * n, h, a))
        costs = path_cost(latents, goals, config.goal).reshape(b, n)
        if not bool(costs.isfinite().all()):
            raise DataError(
                f"{type(model).__name__} predicts latents that are not finite for {int((~costs.isfinite()).sum())} of "
                f"{b * n} candidates"
            )
        cheapest = costs.min(dim=1)
        better = cheapest.values < cost
        best = torch.where(better[:, None, None], plans[torch.arange(b), cheapest.indices], best)
        cost = torch.minimum(cost, cheapest.values)
        history.append(cost)
        mean, spread = config.update(plans, costs, mean, spread)
    return Plan(middle + half * best, cost, torch.stack(history, dim=1), middle + half * mean.clamp(-1, 1))


def require_world_model(model: object) -> None:
    """Raise ConfigError when something lacks a method that planning calls."""
    lacking = [name for name in ("start", "advance", "latent", "goal") if not hasattr(model, name)]
    if lacking:
        raise ConfigError(
            f"{type(model).__name__} is no world model, it lacks {', '.join(lacking)}: see anyjepa.planning.WorldModel"
        )


def rollout(model: WorldModel, state: State, actions: Float[Tensor, "B H A"]) -> Float[Tensor, "H B D"]:
    """The latents after each action."""
    latents = []
    for action in actions.unbind(dim=1):
        state = model.advance(state, action)
        latents.append(model.latent(state))
    return torch.stack(latents)


def repeat(state: State, times: int) -> Any:
    """Each sample of a state so many times, next to each other."""
    one = state if isinstance(state, torch.Tensor) else state[next(iter(state))]
    count = state.samples if isinstance(state, Bundle) else len(one)
    return state[torch.arange(count, device=one.device).repeat_interleave(times)]

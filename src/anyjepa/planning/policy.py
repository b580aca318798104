"""Planning as a policy: plan, act a little, look, plan again (model predictive control)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from anyjepa.bundle import Inputs
from anyjepa.errors import ConfigError
from anyjepa.planning.plan import Bounds, Plan, plan
from anyjepa.planning.planners import CEMConfig, PlannerConfig
from anyjepa.planning.world import WorldModel
from anyjepa.policies.policy import Observation


class PlanningPolicy:
    """Satisfies :class:`~anyjepa.policies.policy.Policy`.

    Args:
        model: the dynamics.
        goal: (1, ...) observation to be reached, as the model takes it.
        bounds: of the actions, in the units of the environment.
        planner: how plans are searched; default CEM.
        observe: turns an observation of the environment into the model's (1, ...) input; default: its ``"state"``, or the
            observation itself, as float32.
        execute: how many actions of a plan are carried out before the next look.
        shorten: plan no further than this many steps into the episode: the last plans have fewer actions, so that the goal
            is reached then and not a horizon later. None: the horizon recedes for ever.
        seed: names the draws.
    """

    def __init__(
        self,
        model: WorldModel,
        goal: Inputs,
        bounds: Bounds,
        planner: PlannerConfig | None = None,
        *,
        observe: Callable[[Observation], Inputs] | None = None,
        execute: int = 1,
        shorten: int | None = None,
        seed: int = 0,
    ) -> None:
        self._planner = planner or CEMConfig()
        if not 1 <= execute <= self._planner.horizon:
            raise ConfigError(f"execute must lie in 1..horizon={self._planner.horizon}, got {execute}")
        self._model, self._goal, self._bounds = model, goal, bounds
        self._observe = observe or _state
        self._execute, self._shorten, self._seed = execute, shorten, seed
        self.last: Plan | None = None
        """The plan in use, to look at."""
        self._episode = -1
        self.reset()

    def reset(self) -> None:
        """A new episode begins: the plan of the last one is forgotten."""
        self.last = None
        self._queue: list[np.ndarray] = []
        self._step = 0
        self._episode += 1

    def act(self, observation: Observation) -> np.ndarray:
        """The next action (A,)."""
        if not self._queue:
            self._queue = self._think(observation)
        self._step += 1
        return self._queue.pop(0)

    def _think(self, observation: Observation) -> list[np.ndarray]:
        horizon = self._planner.horizon
        if self._shorten is not None:
            horizon = max(1, min(horizon, self._shorten - self._step))
        self.last = plan(
            self._model,
            self._observe(observation),
            self._goal,
            self._bounds,
            replace(self._planner, horizon=horizon),
            warm=self._rest(horizon),
            seed=self._seed + self._episode,
            step=self._step,
        )
        actions = self.last.actions[0].cpu().numpy().astype(np.float64)
        return list(actions[: self._execute])

    def _rest(self, horizon: int) -> Tensor | None:
        """The warm start: what is left of the last plan, its last action again and again behind it."""
        if self.last is None:
            return None
        left = self.last.actions[:, self._execute :]
        tail = self.last.actions[:, -1:].expand(-1, horizon, -1)
        return torch.cat([left, tail], dim=1)[:, :horizon]


def _state(observation: Observation) -> Tensor:
    values = observation if isinstance(observation, np.ndarray) else observation["state"]
    return torch.as_tensor(np.asarray(values, dtype=np.float32))[None]

"""Planning on a turntable: bring an object from the view at hand to the view on a photograph, by turns of limited size."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Inputs
from anyjepa.contract import Method
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.evaluation.sequence_tasks import Found
from anyjepa.planning import Bounds, CEMConfig, GoalConfig, WorldModel, plan
from anyjepa.planning.world import State

NEAR = 15.0
"""Degrees from the goal that count as there; COIL-20 has a view every 5."""


class Turning:
    """A world model of relative rotations (cosine, sine) as one of angles."""

    def __init__(self, model: WorldModel) -> None:
        self.model = model

    def start(self, observation: Inputs) -> State:
        """As the model's own."""
        return self.model.start(observation)

    def advance(self, state: State, actions: Float[Tensor, "B 1"]) -> State:
        """Turn by angles in radians."""
        return self.model.advance(state, torch.cat((actions.cos(), actions.sin()), dim=1))

    def latent(self, state: State) -> Float[Tensor, "B D"]:
        """As the model's own."""
        return self.model.latent(state)

    def goal(self, observation: Inputs) -> Float[Tensor, "B D"]:
        """As the model's own."""
        return self.model.goal(observation)


def turn_scores(
    method: Method,
    table: ViewsDataset,
    degrees: np.ndarray,
    starts: np.ndarray,
    *,
    name: str,
    seed: int,
    ahead: int,
    planned: bool = True,
) -> list[Found]:
    """How far from the goal an object is after some turns, each planned anew from the view at hand.

    Args:
        method: predicts under actions.
        table: all views of all objects, also those that were held out from training.
        degrees: angle of each view of it.
        starts: rows of it to start from; the goal of each is another of them, of the same object.
        name: put before the names of the numbers.
        seed: names goals and candidates.
        ahead: turns of a plan; each is of at most 180 degrees over that many. There is one more turn than that.
        planned: False: turns are drawn, which is chance.
    """
    objects = table.source.objects  # type: ignore[attr-defined]
    rng = np.random.default_rng(seed)
    goals = np.array([rng.choice(starts[(objects[starts] == objects[s]) & (starts != s)]) for s in starts])
    views = table.evaluation(np.arange(len(degrees)))
    largest, turns = np.pi / ahead, ahead + 1
    bounds = Bounds(torch.tensor([-largest]), torch.tensor([largest]))
    goal = GoalConfig(distance="cosine", along=0.5)
    search = CEMConfig(horizon=ahead, candidates=64, elites=8, iterations=4, goal=goal)
    at = starts
    for turn in range(turns):
        if planned:
            model = Turning(method.world_model())  # type: ignore[operator]
            found = plan(model, views[at], views[goals], bounds, search, seed=seed, step=turn)
            angles = found.actions[:, 0, 0].numpy()
        else:
            angles = rng.uniform(-largest, largest, len(at))
        wanted = degrees[at] + np.rad2deg(angles)
        apart = np.abs((degrees[None] - wanted[:, None] + 180) % 360 - 180)
        apart[objects[None] != objects[at][:, None]] = np.inf
        at = apart.argmin(axis=1)
    left = np.abs((degrees[at] - degrees[goals] + 180) % 360 - 180)
    return [
        Found(f"{name} error in degrees", turns, float(left.mean())),
        Found(f"{name} within {NEAR:.0f} degrees", turns, float((left <= NEAR).mean())),
    ]

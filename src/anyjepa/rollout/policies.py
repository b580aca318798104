"""Policies to compare with: chance, doing nothing, and the scripted expert. And what lets one policy act in several episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from anyjepa.errors import ConfigError
from anyjepa.randomness import uniform
from anyjepa.rollout.world import Facts, Observation, World

BUILT_IN = ("random", "zero", "expert")


@runtime_checkable
class ManyPolicy(Protocol):
    """A policy that acts in several episodes at once, with one forward pass for all: place k of each is the k-th episode."""

    def reset_many(self, places: Sequence[int]) -> None:
        """New episodes begin at these places."""
        ...

    def act_many(self, observations: Observation, places: Sequence[int]) -> Float[np.ndarray, "B A"]:
        """The next actions of the episodes at these places; observations are stacked, (B, ...) each."""
        ...


class RandomPolicy:
    """Uniform over the bounds; bounds that are infinite count as -1 and 1.

    Args:
        facts: of the simulator.
        seed: names all draws.
    """

    def __init__(self, facts: Facts, seed: int) -> None:
        self._low = np.nan_to_num(np.asarray(facts.low), neginf=-1.0)
        self._width = np.nan_to_num(np.asarray(facts.high), posinf=1.0) - self._low
        self._seed, self._episode, self._step = seed, -1, 0

    def reset(self) -> None:
        """A new episode begins."""
        self._episode, self._step = self._episode + 1, 0

    def act(self, observation: Observation) -> Float[np.ndarray, "A"]:
        """Whatever."""
        draw = uniform(self._seed, "rollout/random", self._step, [self._episode], len(self._low))[0]
        self._step += 1
        return self._low + draw * self._width


class ZeroPolicy:
    """The action 0, or what is nearest to it within the bounds."""

    def __init__(self, facts: Facts) -> None:
        self._action = np.clip(np.zeros(facts.actions), facts.low, facts.high)

    def reset(self) -> None:
        """A new episode begins."""

    def act(self, observation: Observation) -> Float[np.ndarray, "A"]:
        """Nothing."""
        return self._action


def built_in(name: str, world: World, seed: int) -> Any:
    """A policy to compare with, by name.

    Raises:
        ConfigError: the simulator has no expert, or there is no such policy.
    """
    if name == "random":
        return RandomPolicy(world.facts, seed)
    if name == "zero":
        return ZeroPolicy(world.facts)
    if name == "expert":
        expert = world.expert(seed)
        if expert is None:
            raise ConfigError(f"{world.facts.name} has no scripted expert: random and zero are there")
        return expert
    raise ConfigError(f"unknown policy '{name}': {', '.join(BUILT_IN)}, or a run")

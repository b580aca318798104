"""Demonstrations by a scripted expert, for policies to learn from: recorded, judged, and only the good ones kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anyjepa.errors import ConfigError, DataError
from anyjepa.randomness import derive_seed
from anyjepa.rollout.world import Observation, World


@dataclass(frozen=True)
class DemonstrationConfig:
    """What is recorded."""

    episodes: int = 200
    """Episodes to keep."""
    seed: int = 0
    """Names all starts and all noise. Starts of rollouts differ from those of demonstrations whatever their seeds."""
    noise: float = 0.01
    """Standard deviation of what is added to an action before it is carried out, as a share of its range. The action that
    is recorded is the one that was meant: the policy sees how the expert recovers (Laskey et al., DART, CoRL 2017)."""
    tries: int = 4
    """Episodes played at most, as a multiple of ``episodes``."""

    def __post_init__(self) -> None:
        """Check what cannot be."""
        if self.episodes < 1 or self.tries < 1 or not 0 <= self.noise < 1:
            raise ConfigError(
                f"demonstrations need episodes and tries of at least 1 and a noise in [0, 1), got {self.episodes}, "
                f"{self.tries} and {self.noise}"
            )


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration of T actions.

    Attributes:
        observations: by part: (T, S) float32, (T, H, W, 3) uint8; each is what was seen before the action.
        actions: (T, A) float32, in the units of the simulator.
        rewards: (T,) float32.
        seed: of the simulator's reset.
        success: whether the task was done.
        measure: how near it came at best, where the simulator tells.
    """

    observations: dict[str, np.ndarray]
    actions: Float[np.ndarray, "T A"]
    rewards: Float[np.ndarray, "T"]
    seed: int
    success: bool
    measure: float | None

    @property
    def steps(self) -> int:
        """Number of actions T."""
        return len(self.actions)


def demonstrations(
    world: World, config: DemonstrationConfig, progress: Callable[[str, int, int], None] | None = None
) -> Iterator[Episode]:
    """Play the expert and give its successful episodes one by one.

    Args:
        world: has an expert.
        config: how many.
        progress: called with "demonstrations", how many are there and how many there will be.

    Raises:
        ConfigError: the simulator has no scripted expert.
        DataError: the expert fails too often.
    """
    facts = world.facts
    expert = world.expert(config.seed)
    if expert is None:
        raise ConfigError(f"{facts.name} has no scripted expert")
    width = np.asarray(facts.high) - np.asarray(facts.low)
    kept, played = 0, 0
    while kept < config.episodes:
        if played >= config.tries * config.episodes:
            raise DataError(
                f"the expert of {facts.name} succeeded in {kept} of {played} episodes: {config.episodes} were to be kept"
            )
        start = derive_seed(config.seed, "rollout/demonstration", 0, played) & 0x7FFFFFFF
        draw = np.random.Generator(
            np.random.Philox(derive_seed(config.seed, "rollout/demonstration/noise", 0, played))
        )
        noise = draw.normal(size=(facts.steps, facts.actions)) * config.noise * width
        played += 1
        episode = _play(world, expert, start, noise)
        if episode.success:
            kept += 1
            if progress is not None:
                progress("demonstrations", kept, config.episodes)
            yield episode


def _play(world: World, expert: object, seed: int, noise: Float[np.ndarray, "T A"]) -> Episode:
    facts = world.facts
    seen: list[Observation] = []
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    measures: list[float] = []
    success = False
    observation = world.reset(seed)
    expert.reset()  # type: ignore[attr-defined]
    for shake in noise:
        action = expert.act(observation)  # type: ignore[attr-defined]
        step = world.step(np.clip(action + shake, facts.low, facts.high))
        seen.append(observation)
        actions.append(action)
        rewards.append(step.reward)
        if step.measure is not None:
            measures.append(step.measure)
        observation, success = step.observation, step.success
        if success or step.ended:
            break
    parts = {
        name: np.stack([o[name] for o in seen]).astype(np.uint8 if len(shape) == 3 else np.float32)
        for name, shape in facts.parts.items()
    }
    return Episode(
        parts,
        np.stack(actions).astype(np.float32),
        np.array(rewards, dtype=np.float32),
        seed,
        success,
        max(measures, default=None),
    )

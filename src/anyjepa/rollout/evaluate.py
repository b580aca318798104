"""A policy in a simulator, episode after episode, and several at once where the policy can."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.errors import AnyjepaError, ConfigError, DataError
from anyjepa.policies.policy import Policy
from anyjepa.randomness import derive_seed
from anyjepa.rollout.policies import ManyPolicy, built_in
from anyjepa.rollout.result import EpisodeResult, RolloutResult
from anyjepa.rollout.video import Film
from anyjepa.rollout.world import Observation, Step, World
from anyjepa.rollout.worlds import open_world


def evaluate(
    policy: Policy | str,
    env_name: str | Callable[[], World],
    episodes: int = 50,
    seeds: Sequence[int] = (0,),
    *,
    parallel: int = 16,
    max_steps: int | None = None,
    video: str | Path | None = None,
    filmed: int = 4,
    name: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> RolloutResult:
    """Let a policy act, and say what came of it. The same policy, simulator and seeds give the same episodes.

    Args:
        policy: what acts, or ``"random"``, ``"zero"``, ``"expert"``. A policy that is also a
            :class:`~anyjepa.rollout.policies.ManyPolicy` acts in several episodes at once.
        env_name: a name of :data:`~anyjepa.rollout.worlds.WORLDS`, an id of Gymnasium, or what makes a simulator.
        episodes: of each seed.
        seeds: each names its own starts.
        parallel: most episodes at once.
        max_steps: longest episode; default that of the simulator.
        video: folder for films of the first episodes and a sheet of pictures of them.
        filmed: how many episodes are filmed.
        name: of the policy, in words.
        progress: called with "episodes", how many are done, and how many there are.

    Raises:
        ConfigError: a number makes no sense, or there is no such simulator.
        MissingExtraError: the simulator's package is not installed.
        DataError: the policy gives another number of actions than the simulator takes, or no numbers, or cannot use what the
            simulator shows; or the simulator fails. The message names the start of the episode.
    """
    if episodes < 1 or not seeds or parallel < 1 or (max_steps is not None and max_steps < 1):
        raise ConfigError(
            "a rollout needs at least 1 episode, 1 seed, 1 episode at once and 1 step, got "
            f"episodes={episodes}, seeds={list(seeds)}, parallel={parallel}, max_steps={max_steps}"
        )
    make = (lambda: open_world(env_name)) if isinstance(env_name, str) else env_name
    starts = [derive_seed(s, "rollout/episode", 0, i) & 0x7FFFFFFF for s in seeds for i in range(episodes)]
    began = time.monotonic()
    worlds = [make()]
    film: Film | None = None
    try:
        facts = worlds[0].facts
        if isinstance(policy, str):
            name = name or f"the {policy} policy"
            policy = built_in(policy, worlds[0], seeds[0])
        at_once = min(parallel, len(starts)) if isinstance(policy, ManyPolicy) else 1
        worlds += [make() for _ in range(at_once - 1)]
        film = Film(Path(video), facts.fps, min(filmed, len(starts))) if video is not None else None
        done: list[EpisodeResult] = []
        thought = acted = 0.0
        for first in range(0, len(starts), at_once):
            several = [
                _Episode(world, start, max_steps or facts.steps, film if first + k < filmed else None)
                for k, (world, start) in enumerate(zip(worlds, starts[first:], strict=False))
            ]
            for results, seconds, actions in _play(policy, several):
                thought, acted = thought + seconds, acted + actions
                if progress is not None and results:
                    progress("episodes", len(done) + results, len(starts))
            done += [episode.result() for episode in several]
        if film is not None:
            film.sheet()
    finally:
        if film is not None:
            film.tidy()
        for world in worlds:
            world.close()
    return RolloutResult(
        facts.name,
        facts.about,
        name or type(policy).__name__,
        tuple(seeds),
        tuple(done),
        time.monotonic() - began,
        1000 * thought / max(acted, 1),
    )


class _Episode:
    """One episode that is being played."""

    def __init__(self, world: World, seed: int, limit: int, film: Film | None) -> None:
        self.world, self.seed, self.limit, self.film = world, seed, limit, film
        self.steps, self.total, self.clipped, self.success, self.ended = 0, 0.0, 0, False, False
        self.measures: list[float] = []
        self.reel = film.begin(seed) if film is not None else None
        self.observation: Observation = self._guard(lambda: world.reset(seed))
        self._picture()

    def act(self, action: Any) -> None:
        """Check the action, carry it out, and keep account."""
        facts = self.world.facts
        given = np.asarray(action, dtype=np.float64)
        where = f"episode with seed {self.seed}, step {self.steps}"
        if given.shape != (facts.actions,):
            raise DataError(
                f"{where}: {facts.name} takes {facts.actions} numbers as an action, the policy gave shape {given.shape}"
            )
        if not np.isfinite(given).all():
            raise DataError(f"{where}: the policy's action is not finite: {np.round(given, 3).tolist()}")
        within = np.clip(given, facts.low, facts.high)
        self.clipped += bool((within != given).any())
        step: Step = self._guard(lambda: self.world.step(within))
        self.steps += 1
        self.total += step.reward
        self.success |= step.success
        if step.measure is not None:
            self.measures.append(step.measure)
        self.observation = step.observation
        self.ended = step.ended or self.steps >= self.limit
        self._picture()
        if self.ended and self.reel is not None:
            self.reel.end("success" if self.success else "end")

    def result(self) -> EpisodeResult:
        """What it came to."""
        return EpisodeResult(
            self.seed,
            self.steps,
            self.total,
            self.success if self.world.facts.judged else None,
            max(self.measures, default=None),
            self.clipped / max(self.steps, 1),
        )

    def _picture(self) -> None:
        if self.reel is not None:
            self.reel.add(self._guard(self.world.picture))

    def _guard(self, call: Callable[[], Any]) -> Any:
        """Whatever a simulator raises is told with the start that led there."""
        try:
            return call()
        except AnyjepaError:
            raise
        except Exception as error:
            raise DataError(
                f"{self.world.facts.name} failed in the episode with seed {self.seed} at step {self.steps}: "
                f"{type(error).__name__}: {error}"
            ) from error


def _play(policy: Any, episodes: list[_Episode]) -> Any:
    """Play episodes to their ends; after each step gives how many have ended, and the time and number of actions."""
    places = list(range(len(episodes)))
    many = isinstance(policy, ManyPolicy)
    if many:
        policy.reset_many(places)
    else:
        policy.reset()
    while places:
        seen = [episodes[k].observation for k in places]
        began = time.perf_counter()
        try:
            actions = (
                policy.act_many({part: np.stack([o[part] for o in seen]) for part in seen[0]}, places)
                if many
                else [policy.act(seen[0])]
            )
        except AnyjepaError as error:
            first = episodes[places[0]]
            shown = ", ".join(f"{part} {tuple(values.shape)}" for part, values in first.observation.items())
            raise DataError(
                f"the policy cannot act in {first.world.facts.name}, which shows {shown}: {error} "
                f"(episode with seed {first.seed}, step {first.steps})"
            ) from error
        seconds = time.perf_counter() - began
        for k, action in zip(places, actions, strict=True):
            episodes[k].act(action)
        count, before = len(places), sum(e.ended for e in episodes)
        left = [k for k in places if not episodes[k].ended]
        yield (before if len(left) < count else 0), seconds, count
        places = left

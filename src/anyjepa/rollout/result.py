"""What episodes came to: success with Wilson's interval, returns and measures with bootstrap intervals, in words and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anyjepa.evaluation.intervals import RESAMPLES, middle, wilson
from anyjepa.randomness import derive_seed


@dataclass(frozen=True)
class EpisodeResult:
    """One episode.

    Attributes:
        seed: of the simulator's reset: the same seed is the same start.
        steps: actions taken.
        total: sum of the rewards, the return.
        success: the task was done at some moment; None where the simulator does not judge.
        measure: how near the task came at best (coverage of the goal, ...); None where the simulator does not tell.
        clipped: share of the actions that lay outside the simulator's bounds and were moved to them.
    """

    seed: int
    steps: int
    total: float
    success: bool | None
    measure: float | None
    clipped: float


@dataclass(frozen=True)
class RolloutResult:
    """All episodes of one policy in one simulator.

    Attributes:
        environment: name of the simulator.
        about: its task, in words.
        policy: what acted, in words.
        seeds: those asked for; each names ``len(episodes) / len(seeds)`` starts.
        episodes: in the order of their starts.
        seconds: of wall time.
        milliseconds: mean time of the policy per action.
    """

    environment: str
    about: str
    policy: str
    seeds: tuple[int, ...]
    episodes: tuple[EpisodeResult, ...]
    seconds: float
    milliseconds: float

    @property
    def successes(self) -> int | None:
        """How many episodes succeeded; None: the simulator does not judge."""
        if self.episodes[0].success is None:
            return None
        return sum(bool(e.success) for e in self.episodes)

    @property
    def success(self) -> float | None:
        """Share of successful episodes."""
        return None if self.successes is None else self.successes / len(self.episodes)

    @property
    def success_interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the share."""
        return None if self.success is None else wilson(self.success, len(self.episodes))

    @property
    def returns(self) -> tuple[float, float, float]:
        """Mean return, and its 95 % bootstrap interval over episodes."""
        return interval([e.total for e in self.episodes])

    @property
    def lengths(self) -> tuple[float, int, int]:
        """Mean, shortest and longest number of actions."""
        steps = [e.steps for e in self.episodes]
        return float(np.mean(steps)), min(steps), max(steps)

    @property
    def measure(self) -> tuple[float, float, float] | None:
        """Mean of how near the task came at best, and its 95 % bootstrap interval."""
        values = [e.measure for e in self.episodes if e.measure is not None]
        return interval(values) if values else None

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "environment": self.environment,
            "about": self.about,
            "policy": self.policy,
            "seeds": list(self.seeds),
            "episodes": len(self.episodes),
            "success": self.success,
            "success_interval_95": self.success_interval,
            "return_mean_and_interval_95": self.returns,
            "measure_mean_and_interval_95": self.measure,
            "length_mean_shortest_longest": self.lengths,
            "seconds": self.seconds,
            "milliseconds_per_action": self.milliseconds,
            "each": [asdict(e) for e in self.episodes],
        }

    def __str__(self) -> str:
        n = len(self.episodes)
        lines = [f"{self.policy} in {self.environment}: {n} episodes, seeds {_some(self.seeds)}"]
        lines.append(f"  task     {self.about}")
        if self.success is not None and self.success_interval is not None:
            low, high = self.success_interval
            lines.append(
                f"  success  {self.success:.1%} ({self.successes} of {n}), 95 % interval {low:.1%} to {high:.1%}"
            )
        if self.measure is not None:
            mean, low, high = self.measure
            lines.append(f"  nearest  {mean:.3f} on average at best, 95 % interval {low:.3f} to {high:.3f}")
        mean, low, high = self.returns
        lines.append(f"  return   {mean:.4g}, 95 % interval {low:.4g} to {high:.4g}")
        steps, shortest, longest = self.lengths
        lines.append(f"  length   {steps:.0f} actions, {shortest} to {longest}")
        lines.append(f"  time     {self.seconds:.0f} s; the policy took {self.milliseconds:.3g} ms an action")
        clipped = float(np.mean([e.clipped for e in self.episodes]))
        if clipped > 0.005:
            lines.append(f"  {clipped:.0%} of the actions lay outside the bounds and were moved to them")
        lines.append(f"  starts   {_some([e.seed for e in self.episodes])}")
        return "\n".join(lines)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and a 95 % percentile bootstrap interval of the mean (the same draws for the same number of values)."""
    array = np.asarray(values, dtype=np.float64)
    draw = np.random.Generator(np.random.Philox(derive_seed(0, "rollout/bootstrap")))
    means = array[draw.integers(len(array), size=(RESAMPLES, len(array)))].mean(axis=1)
    return float(array.mean()), *middle(means)


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:4]))
    return shown if len(numbers) <= 4 else f"{shown}, ... ({len(numbers)} in all)"

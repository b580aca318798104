"""A little world in NumPy alone, for tests and first steps: an agent with momentum pushes a disc to a goal, or reaches it itself.

Lengths are in units of the table, which is the square from 0 to 1; times in steps. Everything is a plain formula, so that the
same start and the same actions give the same episode on every machine.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from anyjepa.randomness import uniform
from anyjepa.rollout.world import Facts, Observation, Step

AGENT, DISC = 0.05, 0.08
"""Radii."""
DRAG = 0.6
"""Share of the velocity that a step leaves."""
NEAR = 0.05
"""Success: the middle of what is moved is so near the goal."""
_COLOURS = {"goal": (120, 220, 120), "disc": (110, 120, 140), "agent": (65, 105, 225)}


class Push2D:
    """The action is a push on the agent (fx, fy), at most 0.01 each; the state is its position and velocity.

    The picture shows goal, disc and agent; where the goal and the disc are is in the picture alone.

    Args:
        task: ``"push"``: the disc must reach the goal; ``"reach"``: there is no disc, the agent itself must.
        size: pixels of a side of the observed picture.
    """

    def __init__(self, task: str = "push", size: int = 32) -> None:
        self._push, self._size = task == "push", size
        what = "the disc" if self._push else "the agent"
        self.facts = Facts(
            name=f"{task}2d",
            about=f"bring {what} to the goal: success is a distance below {NEAR}",
            parts={"state": (4,), "image": (size, size, 3)},
            low=(-0.01, -0.01),
            high=(0.01, 0.01),
            steps=60 if not self._push else 120,
            fps=20.0,
            judged=True,
            units="change of the agent's velocity, in sides of the table per step",
        )
        self.agent = self.velocity = self.disc = self.goal = np.zeros(2)

    def reset(self, seed: int) -> Observation:
        """See :class:`~anyjepa.rollout.world.World`."""
        draw = uniform(seed, "rollout/push2d", 0, np.arange(64), 6)
        places = 0.2 + 0.6 * draw.reshape(64, 3, 2)
        agent, disc, goal = places[:, 0], places[:, 1], places[:, 2]
        apart = np.linalg.norm(agent - disc, axis=1) > 1.5 * (AGENT + DISC)
        apart &= np.linalg.norm((disc if self._push else agent) - goal, axis=1) > 0.2
        k = int(apart.argmax())
        self.agent, self.disc, self.goal = agent[k], disc[k], goal[k]
        self.velocity = np.zeros(2)
        return self._seen()

    def step(self, action: Float[np.ndarray, "2"]) -> Step:
        """See :class:`~anyjepa.rollout.world.World`."""
        self.velocity = DRAG * self.velocity + action
        self.agent = np.clip(self.agent + self.velocity, AGENT, 1 - AGENT)
        if self._push:
            # The disc has no inertia: it gives way along the line between the middles.
            between = self.disc - self.agent
            far = max(float(np.linalg.norm(between)), 1e-9)
            self.disc = self.disc + max(0.0, AGENT + DISC - far) * between / far
            self.disc = np.clip(self.disc, DISC, 1 - DISC)
        left = float(np.linalg.norm((self.disc if self._push else self.agent) - self.goal))
        return Step(self._seen(), -left, left < NEAR, left < NEAR, -left)

    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        """See :class:`~anyjepa.rollout.world.World`."""
        return self._draw(192)

    def expert(self, seed: int) -> Pusher:
        """Walks behind the disc and pushes it to the goal."""
        return Pusher(self)

    def close(self) -> None:
        """Nothing is held."""

    def _seen(self) -> Observation:
        return {"state": np.concatenate([self.agent, self.velocity]), "image": self._draw(self._size)}

    def _draw(self, size: int) -> UInt8[np.ndarray, "H W 3"]:
        """Discs with soft edges of one pixel, so that small pictures show small movements."""
        line = (np.arange(size) + 0.5) / size
        picture = np.full((size, size, 3), 255.0)
        things = [("goal", self.goal, DISC if self._push else AGENT), ("disc", self.disc, DISC)]
        for name, (x, y), radius in [*things[: 1 + self._push], ("agent", self.agent, AGENT)]:
            far = np.hypot(line[None] - x, line[:, None] - y)
            cover = np.clip((radius - far) * size + 0.5, 0, 1)[..., None]
            picture = picture * (1 - cover) + cover * np.array(_COLOURS[name])
        return picture.round().astype(np.uint8)


class Pusher:
    """Aims at the point behind the disc, around it where it is in the way, and pushes when it is there."""

    def __init__(self, world: Push2D) -> None:
        self._world = world

    def reset(self) -> None:
        """A new episode begins."""

    def act(self, observation: Observation) -> Float[np.ndarray, "2"]:
        """The push on the agent that brings it to where it should be."""
        world = self._world
        aim = self._aim() if world._push else world.goal
        # A velocity that stops at the aim: the push that makes it so in one step, within the bounds.
        wanted = np.clip(0.5 * (aim - world.agent), -0.025, 0.025)
        return np.clip(wanted - DRAG * world.velocity, world.facts.low, world.facts.high)

    def _aim(self) -> Float[np.ndarray, "2"]:
        world, touch = self._world, AGENT + DISC
        to, relative = world.goal - world.disc, world.agent - world.disc
        behind, now = np.arctan2(-to[1], -to[0]), np.arctan2(relative[1], relative[0])
        turn = (behind - now + np.pi) % (2 * np.pi) - np.pi
        if abs(turn) > 0.3:
            # On a circle around the disc, the shorter way round.
            angle = now + np.clip(turn, -0.7, 0.7)
            aim = world.disc + 1.35 * touch * np.array([np.cos(angle), np.sin(angle)])
            return np.clip(aim, AGENT, 1 - AGENT)
        # A point inside the disc on the line to the goal: it draws the agent back to the line as well as on.
        return world.disc + (touch - 0.04) * np.array([np.cos(behind), np.sin(behind)])

"""Push-T (the simulator gym-pusht): a round agent pushes a T onto its outline on the table."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from anyjepa.randomness import derive_seed
from anyjepa.rollout.gymnasium_world import make
from anyjepa.rollout.pusht_expert import OUTLINE, PushTExpert, gap, to_world
from anyjepa.rollout.world import Facts, Observation, Step

COVERAGE = 0.9
"""Success: so much of the goal is covered. The simulator's own 0.95 was lowered to this for the paper of ACT-JEPA."""

_GOAL = np.array([256, 256, np.pi / 4])
"""Of the T: x, y, angle."""


class PushT:
    """The pose of the agent and a picture of 96 x 96, or numbers alone.

    Args:
        keypoints: no picture; the state is that of the agent and the eight corners of the T, 18 numbers.
        near: the T starts at most so many pixels and, times 1/120, radians off its goal; None: anywhere, as in the simulator.
    """

    def __init__(self, keypoints: bool = False, near: float | None = None) -> None:
        self._env = make(
            "gym_pusht/PushT-v0",
            "gym_pusht",
            obs_type="state",
            visualization_width=384,
            visualization_height=384,
        ).unwrapped
        self._env.success_threshold = COVERAGE
        self._keypoints, self._near = keypoints, near
        parts: dict[str, tuple[int, ...]] = {"state": (18 if keypoints else 2,)}
        if not keypoints:
            parts["image"] = (96, 96, 3)
        where = (
            "the T starts anywhere" if near is None else f"the T starts within {near:g} pixels of its goal"
        )
        self.facts = Facts(
            name="pusht" + ("-keypoints" if keypoints else "") + ("-near" if near is not None else ""),
            about=f"push the T onto its outline: success is {COVERAGE:.0%} coverage; {where}",
            parts=parts,
            low=(0.0, 0.0),
            high=(512.0, 512.0),
            steps=300,
            fps=10.0,
            judged=True,
            units="place of the table the agent is drawn to, in pixels 0..512",
        )

    def reset(self, seed: int) -> Observation:
        """See :class:`~anyjepa.rollout.world.World`."""
        # Else the first picture would show where the last episode aimed.
        self._env._last_action = None
        if self._near is None:
            self._env.reset(seed=seed)
        else:
            start = _nearby(seed, self._near)
            self._env.reset(seed=seed, options={"reset_to_state": start})
            # The simulator turns the T about its centre of gravity after placing it.
            self._env.block.position = start[2:4].tolist()
        return self._seen()

    def step(self, action: Float[np.ndarray, "A"]) -> Step:
        """See :class:`~anyjepa.rollout.world.World`."""
        _, _, ended, _, info = self._env.step(np.asarray(action, dtype=np.float64))
        coverage = float(info["coverage"])
        return Step(self._seen(), coverage, bool(ended), bool(ended), coverage)

    @property
    def pose(self) -> Float[np.ndarray, "5"]:
        """Agent x, y and the T's x, y, angle: what only the expert knows."""
        block = self._env.block
        return np.array([*self._env.agent.position, *block.position, block.angle])

    def _seen(self) -> Observation:
        agent = np.array(self._env.agent.position)
        if self._keypoints:
            return {"state": np.concatenate([agent, to_world(self.pose[2:], OUTLINE).ravel()])}
        return {"state": agent, "image": self._env._render()}

    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        """See :class:`~anyjepa.rollout.world.World`."""
        return self._env.render()

    def expert(self, seed: int) -> Scripted:
        """Pushes by trying pushes; see pusht_expert.py."""
        return Scripted(self)

    def close(self) -> None:
        """Let go of windows and memory."""
        self._env.close()


class Scripted:
    """The expert as a policy: it looks into the simulator, whatever the observation says."""

    def __init__(self, world: PushT) -> None:
        dream = make("gym_pusht/PushT-v0", "gym_pusht", obs_type="state").unwrapped
        self._world, self._expert = world, PushTExpert(dream)

    def reset(self) -> None:
        """A new episode begins."""
        self._expert.reset()

    def act(self, observation: Observation) -> Float[np.ndarray, "2"]:
        """The next place the agent is drawn to."""
        return self._expert.act(self._world.pose)


def _nearby(seed: int, near: float) -> Float[np.ndarray, "5"]:
    """A start with the T near its goal, and the agent off it."""
    draw = np.random.Generator(np.random.Philox(derive_seed(seed, "rollout/pusht")))
    pose = _GOAL + draw.uniform(-1, 1, 3) * near * np.array([1, 1, 1 / 120])
    places = draw.uniform(50, 450, (64, 2))
    return np.concatenate([places[(gap(pose, places) > 30).argmax()], pose])

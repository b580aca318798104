"""A scripted expert for Push-T: it chooses pushes by trying them in a copy of the physics, and walks around the T between them.

It knows the pose of the T (privileged state). A push is a contact point on the outline of the T, a direction and a length.
All contact points are tried at once per decision in a second, invisible simulator; each trial gives the pose of the T after
every length up to the longest, because pushing without inertia depends on the path of the agent alone, not on its speed.
The push that brings the corners of the T nearest to their goal per time is carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

OUTLINE = np.array(
    [[-60.0, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], dtype=np.float64
)
"""Corners of the T in its own frame, in pixels of the 512 x 512 table."""
_BOXES = np.array([[0.0, 15, 60, 15], [0, 75, 15, 45]])
"""The bar and the stem: centre and half sides."""
RADIUS = 15.0
"""Of the agent."""
DT = 0.01
"""Seconds of a step of the physics; an action lasts ten."""
_SPEED = 200.0
"""Pixels a second of a push that is tried; any speed gives the same."""
_PAUSE = 60.0
"""What a push costs beside its way, in pixels of way."""
_TOUCHED = 3.0
"""Pixels the corners of the T have moved when it counts as touched by accident."""


@dataclass(frozen=True)
class PushTExpertConfig:
    """How the expert pushes."""

    spacing: float = 12.0
    """Pixels between contact points on the outline."""
    longest: float = 150.0
    """Pixels of the longest push."""
    pace: float = 14.0
    """Pixels the aimed-at point runs ahead per action."""
    clearance: float = 4.0
    """Pixels kept from the T on the way to a contact point."""
    lookahead: int = 6
    """Best first pushes for which a second one is tried too; 0: none."""


def to_world(pose: Float[np.ndarray, "3"], points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Points of the frame of the T on the table; a pose is (x, y, angle)."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    return pose[:2] + points @ np.array([[c, s], [-s, c]])


def gap(pose: Float[np.ndarray, "3"], points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    """Distance of points of the table from the T, 0 inside."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    local = (points - pose[:2]) @ np.array([[c, -s], [s, c]])
    outside = np.maximum(np.abs(local[:, None] - _BOXES[:, :2]) - _BOXES[:, 2:], 0)
    return np.linalg.norm(outside, axis=-1).min(axis=1)


def off(poses: Float[np.ndarray, "*n 3"], goal: Float[np.ndarray, "3"]) -> Any:
    """Mean distance of the corners of the T from where they belong, in pixels: (...,) for (..., 3) poses."""
    c, s = np.cos(poses[..., 2]), np.sin(poses[..., 2])
    turn = np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -2)
    corners = poses[..., None, :2] + OUTLINE @ turn
    return np.linalg.norm(corners - to_world(goal, OUTLINE), axis=-1).mean(axis=-1)


def contacts(spacing: float) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Places of the centre of the agent when it touches the outline, and the directions it pushes in, in the frame of the T."""
    places, directions = [], []
    for a, b in zip(OUTLINE, np.roll(OUTLINE, -1, axis=0), strict=True):
        along = (b - a) / np.linalg.norm(b - a)
        outward = np.array([along[1], -along[0]])
        count = max(1, int(np.linalg.norm(b - a) // spacing))
        for share in (np.arange(count) + 0.5) / count:
            places.append(a + share * (b - a) + (RADIUS + 0.5) * outward)
            directions.append(-outward)
    spots, ways = np.array(places), np.array(directions)
    free = gap(np.zeros(3), spots) >= RADIUS
    return spots[free], ways[free]


@dataclass(frozen=True, eq=False)
class Push:
    """A push on the table: from where, in which direction, how far, and how far off the T is thought to be afterwards."""

    contact: int
    start: Float[np.ndarray, "2"]
    way: Float[np.ndarray, "2"]
    length: float
    off: float
    pose: Float[np.ndarray, "3"]


class PushTExpert:
    """Acts in one episode at a time.

    Args:
        dream: an unwrapped Push-T simulator of its own, in which pushes are tried; never the one that is played.
        config: how it pushes.
    """

    def __init__(self, dream: Any, config: PushTExpertConfig | None = None) -> None:
        self.config = config or PushTExpertConfig()
        self._dream = dream
        dream.reset(seed=0)
        self._spots, self._ways = contacts(self.config.spacing)
        self.reset()

    def reset(self) -> None:
        """A new episode begins."""
        self._path: list[np.ndarray] = []
        self._aim: np.ndarray | None = None
        self._planned: np.ndarray | None = None

    def act(self, state: Float[np.ndarray, "5"]) -> Float[np.ndarray, "2"]:
        """Where the agent should go next.

        Args:
            state: agent x, y; pose of the T: x, y, angle.
        """
        agent, pose = state[:2], state[2:]
        if self._aim is None:
            self._aim = agent.copy()
        arrived = not self._path and np.linalg.norm(agent - self._aim) < 2.5
        # The T was touched on the way to it: what was planned is no longer good.
        moved = (
            len(self._path) > 1 and self._planned is not None and float(off(pose, self._planned)) > _TOUCHED
        )
        if self._planned is None or arrived or moved:
            self._planned = pose.copy()
            self._path = self._choose(agent, pose)
            self._aim = agent.copy()
        self._aim = self._ahead(agent, self._aim)
        return np.clip(self._aim, 0, 512)

    def _ahead(self, agent: np.ndarray, aim: np.ndarray) -> np.ndarray:
        """The aimed-at point, moved on along the path; it waits for the agent where that falls behind."""
        if np.linalg.norm(aim - agent) > 3 * self.config.pace:
            return aim
        left = self.config.pace
        while left > 0 and self._path:
            to = self._path[0] - aim
            far = float(np.linalg.norm(to))
            if far > left:
                return aim + to / far * left
            aim, left = self._path.pop(0), left - far
        return aim

    def _choose(self, agent: np.ndarray, pose: np.ndarray) -> list[np.ndarray]:
        """Corners of the way to the best push and through it."""
        paths, lengths = self._ways_to(agent, pose)
        pushes = [p for p in self._try(pose) if np.isfinite(lengths[p.contact])]
        now = float(off(pose, self._dream.goal_pose))
        if not pushes:
            # Wedged in: straight to the middle of the table frees it.
            return [np.array([256.0, 256])]

        scored = [((now - p.off) / (lengths[p.contact] + p.length + _PAUSE), p) for p in pushes]
        scored.sort(key=lambda pair: -pair[0])
        for _, p in scored[: self.config.lookahead]:
            end = p.start + p.length * p.way
            first = lengths[p.contact] + p.length
            for q in self._try(p.pose):
                way = first + np.linalg.norm(q.start - end) + q.length
                scored.append(((now - q.off) / (way + 2 * _PAUSE), p))
        best = max(scored, key=lambda pair: pair[0])[1]
        return [*paths(best.contact), best.start, best.start + best.length * best.way]

    def _try(self, pose: np.ndarray) -> list[Push]:
        """The best length of the push from every contact point."""
        dream, goal = self._dream, self._dream.goal_pose
        starts = to_world(pose, self._spots)
        ways = to_world(np.array([0, 0, pose[2]]), self._ways)
        found = []
        steps = int(self.config.longest / _SPEED / DT)
        for contact, (start, way) in enumerate(zip(starts, ways, strict=True)):
            ends = start + np.arange(steps + 1)[:, None] * (way * _SPEED * DT)
            # So many steps before it meets a wall; the place it starts from is the first of these.
            room = int(_on_table(ends).cumprod().sum()) - 1
            if room < 1:
                continue
            dream.block.angle = pose[2]
            dream.block.position = pose[:2].tolist()
            dream.block.velocity, dream.block.angular_velocity = (0, 0), 0
            dream.agent.position = start.tolist()
            dream.agent.velocity = (way * _SPEED).tolist()
            poses = np.empty((room, 3))
            for i in range(room):
                dream.space.step(DT)
                poses[i] = (*dream.block.position, dream.block.angle)
            costs = off(poses, goal)
            k = int(costs.argmin())
            found.append(Push(contact, start, way, (k + 1) * _SPEED * DT, float(costs[k]), poses[k]))
        return found

    def _ways_to(
        self, agent: np.ndarray, pose: np.ndarray
    ) -> tuple[Callable[[int], list[np.ndarray]], np.ndarray]:
        """Shortest ways to all contact points that keep off the T, and their lengths, inf where there is none."""
        from scipy.sparse.csgraph import dijkstra

        keep = RADIUS + self.config.clearance
        angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
        ring = (keep + 1) * np.stack([np.cos(angles), np.sin(angles)], -1)
        around = to_world(pose, (OUTLINE[:, None] + ring).reshape(-1, 2))
        around = around[(gap(pose, around) >= keep) & _on_table(around)]
        # The agent and the contact points may touch the T: a straight bit leads off it.
        touching = np.vstack([agent, to_world(pose, self._spots)])
        left = np.array([self._off(point, pose, keep) for point in touching])
        nodes = np.vstack([left, around])
        ends, n = len(touching), len(nodes)
        i, j = np.triu_indices(n, 1)
        # Contact points are no waypoints.
        i, j = i[(i == 0) | (i >= ends) | (j >= ends)], j[(i == 0) | (i >= ends) | (j >= ends)]
        shares = np.linspace(0, 1, 24)[:, None]
        points = nodes[i, None] + shares * (nodes[j] - nodes[i])[:, None]
        free = (gap(pose, points.reshape(-1, 2)).reshape(len(i), -1) >= keep - 1).all(axis=1)
        reachable = np.isfinite(nodes).all(axis=1)
        free &= reachable[i] & reachable[j]
        graph = np.zeros((n, n))
        graph[i[free], j[free]] = np.linalg.norm(nodes[i] - nodes[j], axis=1)[free] + 1e-3
        far, before = dijkstra(graph, directed=False, indices=0, return_predecessors=True)

        def path(contact: int) -> list[np.ndarray]:
            found, at = [], contact + 1
            while at >= 0:
                found.append(nodes[at])
                at = before[at]
            return found[::-1]

        return path, far[1:ends]

    @staticmethod
    def _off(point: np.ndarray, pose: np.ndarray, keep: float) -> np.ndarray:
        """The nearest of points on circles around ``point`` that is far enough from the T; NaN: none is near."""
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        for far in (0.0, 3, 6, 9, 12, 16, 20):
            ring = point + far * np.stack([np.cos(angles), np.sin(angles)], -1)
            gaps = np.where(_on_table(ring), gap(pose, ring), -1)
            if gaps.max() >= keep - 1e-6:
                return ring[gaps.argmax()]
        return np.full(2, np.nan)


def _on_table(points: np.ndarray) -> Any:
    """Whether the agent fits there between the walls."""
    return np.all((points >= 22) & (points <= 489), axis=-1)

"""The simulators by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyjepa.errors import ConfigError, nearest
from anyjepa.rollout.gymnasium_world import GymnasiumWorld
from anyjepa.rollout.push2d import Push2D
from anyjepa.rollout.pusht import PushT
from anyjepa.rollout.world import World

WORLDS: dict[str, Callable[[], World]] = {
    "pusht": PushT,
    "pusht-keypoints": lambda: PushT(keypoints=True),
    "pusht-near": lambda: PushT(near=60.0),
    "pusht-keypoints-near": lambda: PushT(keypoints=True, near=60.0),
    "push2d": Push2D,
    "reach2d": lambda: Push2D("reach"),
    "halfcheetah": lambda: GymnasiumWorld(
        "HalfCheetah-v5", "run forward with two legs; the return counts, there is no success"
    ),
    "hopper": lambda: GymnasiumWorld(
        "Hopper-v5", "hop forward on one leg; the return counts, the episode ends with a fall"
    ),
    # The recorded demonstrations last up to 300 steps, the environment's own limit is 200.
    "adroit-door": lambda: GymnasiumWorld(
        "AdroitHandDoor-v1",
        "open a door with a hand of 24 joints; success is a door open by 1.35 radians, the measure is its angle",
        package="gymnasium_robotics",
        success="success",
        steps=300,
        measure=28,
    ),
}
"""What each makes: see ``about`` of its facts."""


def open_world(name: str) -> World:
    """The simulator of that name; other names are ids of Gymnasium.

    Raises:
        ConfigError: there is none of that name.
        MissingExtraError: its package is not installed.
    """
    if name in WORLDS:
        return WORLDS[name]()
    if "-v" not in name:
        raise ConfigError(
            f"unknown simulator '{name}': {nearest(name, WORLDS)}, or an id of Gymnasium like Hopper-v5"
        )
    package, _, rest = name.partition("/")
    options: dict[str, Any] = {"package": package} if rest and package.isidentifier() else {}
    return GymnasiumWorld(name, **options)

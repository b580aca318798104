"""Simulators of Gymnasium: whatever has box-shaped observations and actions."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from anyjepa.errors import ConfigError, MissingExtraError, nearest
from anyjepa.rollout.world import Facts, Observation, Step


def headless() -> None:
    """Let simulators draw without a display: MuJoCo through EGL, pygame into memory. What the user has set stays."""
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


def make(name: str, package: str = "", **options: Any) -> Any:
    """A Gymnasium environment.

    Args:
        name: its id, e.g. ``"HalfCheetah-v5"``.
        package: what registers it when it is imported, e.g. ``"gym_pusht"``.
        options: of ``gymnasium.make``.

    Raises:
        MissingExtraError: Gymnasium or the package is not installed.
        ConfigError: there is no such environment, or it cannot be made here.
    """
    headless()
    try:
        import gymnasium

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for needed in filter(None, [package]):
                importlib.import_module(needed)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "gymnasium", "sim") from error
    except ImportError as error:
        raise ConfigError(
            f"{package or 'gymnasium'} is installed but cannot be imported: {error}. A library of the system is missing; "
            "libGL.so.1 comes with the system's package libgl1, or with opencv-python-headless in place of opencv-python"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gymnasium.make(name, **options)
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingExtraError(f"what {name} simulates with ({error})", "sim") from error
    except gymnasium.error.Error as error:
        raise ConfigError(f"no simulator '{name}': {nearest(name, gymnasium.registry)[:300]}") from error


class GymnasiumWorld:
    """An environment whose observation is one vector.

    Args:
        name: id of Gymnasium.
        about: the task in one line.
        package: what registers it.
        success: key of the step's ``info`` that says whether the task is done; "": the task has no success.
        steps: longest episode; None: the environment's own limit.
        measure: which number of the observation tells how near the task is, when one does.
        options: of ``gymnasium.make``.
    """

    def __init__(
        self,
        name: str,
        about: str = "",
        package: str = "",
        success: str = "",
        steps: int | None = None,
        measure: int | None = None,
        **options: Any,
    ) -> None:
        if steps is not None:
            options["max_episode_steps"] = steps
        self._env = make(name, package, render_mode="rgb_array", **options)
        self._success, self._measure = success, measure
        limit = steps or getattr(self._env.spec, "max_episode_steps", None)
        seen, does = self._env.observation_space, self._env.action_space
        for what, space in (("observations", seen), ("actions", does)):
            if type(space).__name__ != "Box" or len(space.shape) != 1:
                self.close()
                raise ConfigError(f"{name}: {what} must be a vector of numbers, they are {space}")
        if not limit:
            self.close()
            raise ConfigError(f"{name} has no limit of steps: give one with --steps")
        self.facts = Facts(
            name=name,
            about=about or f"{name} of Gymnasium",
            parts={"state": seen.shape},
            low=tuple(map(float, does.low)),
            high=tuple(map(float, does.high)),
            steps=int(limit),
            fps=float(self._env.metadata.get("render_fps", 30)),
            judged=bool(success),
        )

    def reset(self, seed: int) -> Observation:
        """See :class:`~anyjepa.rollout.world.World`."""
        observation, _ = self._env.reset(seed=seed)
        return {"state": np.asarray(observation, dtype=np.float64)}

    def step(self, action: Float[np.ndarray, "A"]) -> Step:
        """See :class:`~anyjepa.rollout.world.World`."""
        observation, reward, ended, _, info = self._env.step(action.astype(self._env.action_space.dtype))
        done = bool(info.get(self._success, False)) if self._success else False
        state = np.asarray(observation, dtype=np.float64)
        near = None if self._measure is None else float(state[self._measure])
        return Step({"state": state}, float(reward), bool(ended), done, near)

    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        """See :class:`~anyjepa.rollout.world.World`."""
        return np.ascontiguousarray(self._env.render())

    def expert(self, seed: int) -> None:
        """There is none."""
        return None

    def close(self) -> None:
        """Let go of windows and memory."""
        self._env.close()

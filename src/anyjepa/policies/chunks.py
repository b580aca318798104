"""A trained method as a policy: observations in, one action out, in the units of the demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Bundle
from anyjepa.contract import Method
from anyjepa.data.episodes import as_pictures, resized
from anyjepa.data.episodes_config import STATE, TASK, EpisodesConfig
from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.policies.execution import Execution
from anyjepa.policies.policy import Observation


@runtime_checkable
class Actor(Protocol):
    """A method that says what to do next."""

    def actions(self, x: Bundle) -> Float[Tensor, "B n A"]:
        """Chunks of actions for observations, both scaled as in training."""
        ...


class ChunkPolicy:
    """Acts by a method that predicts chunks; in several episodes at once with one forward pass for all that need one.

    Args:
        method: has ``actions``; is put into eval mode on ``device``.
        reading: how the demonstrations were scaled.
        execution: makes what an episode does with its chunks.
        task: name of the task; None: the only one.
        device: where to compute.

    Attributes:
        forwards: forward passes so far.

    Raises:
        ConfigError: the method cannot act, or there are several tasks and none, or an unknown one, was named.
    """

    def __init__(
        self,
        method: Method,
        reading: EpisodesConfig,
        execution: Callable[[], Execution],
        *,
        task: str | None = None,
        device: str = "cpu",
    ) -> None:
        if not isinstance(method, Actor):
            raise ConfigError(f"{method.name} predicts no actions: it cannot be a policy")
        tasks = reading.tasks or ("",)
        if task is None and len(tasks) > 1:
            raise ConfigError(
                f"the policy was trained on several tasks, name one: {', '.join(map(repr, tasks))}"
            )
        if task is not None and task not in tasks:
            raise ConfigError(f"unknown task '{task}': {nearest(task, tasks)}")
        self.method, self.reading, self.device = method.eval().to(device), reading, device
        shape: Any = method.input_shape()
        self.cameras = tuple(name for name, part in shape.items() if len(part) == 3)
        self.size = shape[self.cameras[0]][1:] if self.cameras else (0, 0)
        self.state_size = shape[STATE][0]
        self.forwards = 0
        self._actor: Actor = method
        self._task = tasks.index(task) if task is not None else 0
        self._make = execution
        self._episodes: dict[int, Execution] = {}
        self.reset()

    def reset(self) -> None:
        """A new episode begins: what was planned in the last one is forgotten."""
        self.reset_many([0])

    def reset_many(self, places: Sequence[int]) -> None:
        """New episodes begin at these places."""
        for place in places:
            self._episodes[place] = self._make()

    def act(self, observation: Observation) -> Float[np.ndarray, "A"]:
        """The next action, see :meth:`~anyjepa.policies.policy.Policy.act`."""
        parts = {STATE: observation} if isinstance(observation, np.ndarray) else observation
        return self.act_many({name: np.asarray(part)[None] for name, part in parts.items()}, [0])[0]

    def act_many(
        self, observations: Mapping[str, np.ndarray], places: Sequence[int]
    ) -> Float[np.ndarray, "B A"]:
        """The next actions of the episodes at these places; observations are stacked, (B, ...) each."""
        episodes = [self._episodes.setdefault(place, self._make()) for place in places]
        wanting = [i for i, episode in enumerate(episodes) if episode.wants]
        if wanting:
            chunks = self._predict({name: np.asarray(part)[wanting] for name, part in observations.items()})
            for i, chunk in zip(wanting, chunks, strict=True):
                episodes[i].add(chunk)
        return np.stack([episode.next() for episode in episodes])

    @torch.inference_mode()
    def _predict(self, observations: Mapping[str, np.ndarray]) -> Float[np.ndarray, "B n A"]:
        self.forwards += 1
        chunks = self._actor.actions(self._bundle(observations).to(self.device))
        return self.reading.unscaled("action", chunks.float().cpu().numpy())

    def _bundle(self, observations: Mapping[str, np.ndarray]) -> Bundle:
        """Observations as the method takes them.

        Raises:
            DataError: a part is missing, of another shape, or not finite.
        """
        state = np.asarray(self._part(observations, STATE), dtype=np.float64)
        if state.ndim != 2 or state.shape[1] != self.state_size:
            raise DataError(
                f"the policy takes states of {self.state_size} values, got shape {state.shape[1:]}"
            )
        if not np.isfinite(state).all():
            raise DataError(f"the state is not finite: {np.round(state[0], 3).tolist()}")
        parts = {
            STATE: torch.from_numpy(self.reading.scaled("state", state)),
            TASK: torch.full((len(state), 1), float(self._task)),
        }
        for camera in self.cameras:
            pictures = as_pictures(self._part(observations, camera), f"camera {camera}")
            parts[camera] = torch.from_numpy(resized(pictures, self.size)).float() / 255
        return Bundle(parts)

    def _part(self, observations: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        if name in observations:
            return observations[name]
        # One camera is the image, whatever it is called.
        if len(self.cameras) == 1 and name == self.cameras[0] and "image" in observations:
            return observations["image"]
        raise DataError(
            f"the policy needs '{name}' of an observation, got {', '.join(observations) or 'nothing'}"
        )


class LeRobotPolicy:
    """The same policy as LeRobot asks its own: batches of tensors by LeRobot's names.

    Args:
        policy: what acts.
    """

    def __init__(self, policy: ChunkPolicy) -> None:
        self.policy = policy
        self._begun = 0

    def reset(self) -> None:
        """New episodes begin."""
        self.policy.reset_many(range(self._begun))

    def select_action(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "B A"]:
        """The next action of each of B episodes, in the units of the demonstrations.

        Args:
            batch: ``observation.state`` (B, S), pictures (B, 3, H, W) in 0..1 as ``observation.image`` or
                ``observation.images.NAME``.
        """
        parts = {
            key.removeprefix("observation.").removeprefix("images."): value.detach().cpu().numpy()
            for key, value in batch.items()
            if key.startswith("observation.")
        }
        count = len(next(iter(parts.values()))) if parts else 0
        self._begun = max(self._begun, count)
        return torch.from_numpy(self.policy.act_many(parts, range(count))).float()

"""What a simulator, a robot or a loop of one's own asks of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

Observation = Mapping[str, np.ndarray] | np.ndarray
"""What is seen at one moment: arrays by name ("state", "image" or the names of the cameras), or the state alone."""


@runtime_checkable
class Policy(Protocol):
    """Acts in one episode at a time::

    policy.reset()
    while not done:
        action = policy.act({"state": state, "image": picture})
        ...
    """

    def reset(self) -> None:
        """A new episode begins: what was planned in the last one is forgotten."""

    def act(self, observation: Observation) -> np.ndarray:
        """The next action (A,), in the units of the environment.

        Args:
            observation: ``"state"`` (S,) in the units of the demonstrations; pictures (H, W, 3) uint8 by the names of their
                cameras (``"image"`` where there is but one).

        Raises:
            DataError: a part is missing or has another shape than what the policy was trained on.
        """

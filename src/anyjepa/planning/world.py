"""What a planner needs of a world model: a start, a step by an action, and a latent that can be compared with a goal.

Whatever predicts the next latent from an action fits: a method of this library with an action-conditioned predictor (it
offers a method ``world_model()`` that returns such an object), a model of one's own (a class with the four methods below, no
base class needed), a frozen encoder with an action-conditioned predictor on top as in V-JEPA 2-AC (``start`` and ``goal``
encode a frame, ``advance`` predicts the next latent autoregressively, ``latent`` is the identity)::

    class Linear:
        def start(self, observation):      return observation                 # (B, D)
        def advance(self, state, actions): return state @ self.A.T + actions @ self.B.T
        def latent(self, state):           return state                       # (B, D)
        def goal(self, observation):       return observation                 # (B, D)

The state is the model's own business. Planners only repeat it for their candidates, with ``state[rows]`` where ``rows`` is
an int64 tensor of positions: a tensor (B, ...) or an :class:`~anyjepa.bundle.Bundle` of such tensors. A model that needs its
past (frames or actions seen so far) keeps it in the state. Planners call everything under ``torch.no_grad``; a module
should be in eval mode.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Inputs

State = Any
"""A tensor (B, ...) or a Bundle: what ``state[rows]`` picks samples from."""


@runtime_checkable
class WorldModel(Protocol):
    """Latent dynamics under actions. B counts samples, A is the size of an action, D that of a latent."""

    def start(self, observation: Inputs) -> State:
        """The state after observing (B, ...) observations: the last one, or what the model wants of the past."""
        ...

    def advance(self, state: State, actions: Float[Tensor, "B A"]) -> State:
        """The state after one more action each, in the units of the environment. The given state is not changed."""
        ...

    def latent(self, state: State) -> Float[Tensor, "B D"]:
        """What of a state is compared with the goal."""
        ...

    def goal(self, observation: Inputs) -> Float[Tensor, "B D"]:
        """The latent of (B, ...) observations to be reached. Often ``self.latent(self.start(observation))``; another where
        what is predicted lives in the space of the target encoder."""
        ...

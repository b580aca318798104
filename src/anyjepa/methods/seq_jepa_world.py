"""seq-JEPA as a world model: views are imagined one after the other, each from what was seen and imagined before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Bundle, Inputs

if TYPE_CHECKING:
    from anyjepa.methods.seq_jepa import SeqJEPA


class SequenceWorld:
    """Fulfils :class:`anyjepa.planning.WorldModel`: states are bundles of ``seen`` (B, M, D) and ``actions`` (B, M - 1, A).

    The cosine loss leaves the length of a prediction open, so an imagined representation gets the mean length of those that
    were seen.

    Args:
        method: a seq-JEPA whose predictor is told the actions.
    """

    def __init__(self, method: SeqJEPA) -> None:
        self.method = method

    def start(self, observation: Inputs) -> Bundle:
        """The state after observing images (B, C, H, W), or sequences as :meth:`SeqJEPA.encode` takes them."""
        if not isinstance(observation, Bundle):
            actions = observation.new_zeros(len(observation), 0, self.method.config.action_dim)
            observation = Bundle({"views": observation[:, None], "actions": actions})
        views = observation["views"]
        seen = self.goal(views.flatten(0, 1)).unflatten(0, tuple(views.shape[:2]))
        return Bundle({"seen": seen, "actions": observation["actions"]})

    def advance(self, state: Bundle, actions: Float[Tensor, "B A"]) -> Bundle:
        """The state after one more action each, in the numbers the data give."""
        seen, told = state["seen"], torch.cat((state["actions"], actions[:, None]), dim=1)
        imagined = self.method.predict(seen, told)
        length = seen[:, :1].norm(dim=2)
        imagined = torch.nn.functional.normalize(imagined, dim=1) * length
        return Bundle({"seen": torch.cat((seen, imagined[:, None]), dim=1), "actions": told})

    def latent(self, state: Bundle) -> Float[Tensor, "B D"]:
        """The representation of the last view, seen or imagined."""
        return state["seen"][:, -1]

    def goal(self, observation: Inputs) -> Float[Tensor, "B D"]:
        """Representations of images (B, C, H, W) by the target encoder, in whose space predictions lie."""
        return self.method.encode(observation).pooled

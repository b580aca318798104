"""Behaviour cloning by a plain network on the present observation: the least a policy must beat. No JEPA.

    loss = l1( mlp(task, state_t, mean over places of the pictures' maps), actions t..t+n-1 )

Pomerleau: ALVINN: An Autonomous Land Vehicle in a Neural Network, NeurIPS 1988, is the first of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.bundle import Bundle, Inputs
from anyjepa.contract import Batch, Output, Representation
from anyjepa.methods.chunking import ChunkingConfig, ChunkingPolicy, action_loss
from anyjepa.nn.observation import as_pixels, trunk
from anyjepa.registry import register


@dataclass(frozen=True)
class MLPPolicyConfig(ChunkingConfig):
    """Every constant of the method. ``hidden`` is the width of the network and ``depth`` its layers, at least 2; ``heads`` is not
    used. None means: chosen from ``size`` or from the data, and printed."""


class Perceptron(nn.Module):
    """Observations to a vector.

    Args:
        config: fitted.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        c = config
        self.config = c
        self.task = nn.Embedding(c.tasks, c.dim)
        self.trunk = trunk(c.trunk, c.dim, c.trunk_norm) if c.cameras else None
        width = c.state_size + c.dim + (self.trunk.width * len(c.cameras) if self.trunk else 0)
        self.layers = nn.ModuleList(
            nn.Linear(width if i == 0 else c.hidden, c.hidden) for i in range(max(2, c.depth))
        )

    def forward(self, parts: Bundle, layer: int = -1) -> Float[Tensor, "B H"]:
        """What a hidden layer, the last by default, makes of observations; of a sequence of states the first counts."""
        c, state = self.config, parts["state"]
        state = state[:, 0] if state.ndim == 3 else state
        number = parts["task"].reshape(len(state)) if "task" in parts else state.new_zeros(len(state))
        pieces = [state, self.task(number.round().long().clamp(0, c.tasks - 1))]
        if self.trunk is not None:
            for camera in c.cameras:
                seen = self.trunk(as_pixels(parts[camera], c.image_norm == "imagenet"))
                pieces.append(seen.mean(dim=(2, 3)))
        x = torch.cat(pieces, dim=1)
        for one in self.layers[: range(len(self.layers))[layer] + 1]:
            x = F.dropout(F.relu(one(x)), c.dropout, self.training)
        return x


@register(
    "mlp-policy",
    config=MLPPolicyConfig,
    summary="baseline, no JEPA: behaviour cloning of action chunks by a plain network",
    modality="episodes",
    citation="Pomerleau: ALVINN: An Autonomous Land Vehicle in a Neural Network, NeurIPS 1988",
    licence="Apache-2.0 (no official code)",
)
class MLPPolicy(ChunkingPolicy):
    """The baseline as a module.

    Args:
        config: what is None in it is filled in by :meth:`~anyjepa.methods.chunking.ChunkingConfig.fit`.
    """

    config: Any  # MLPPolicyConfig, nothing of which is None

    def __init__(self, config: MLPPolicyConfig | None = None) -> None:
        super().__init__()
        config = config or MLPPolicyConfig()
        self.config = config.fit(config.default_shape)
        c: Any = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(c.seed)
            self.encoder = Perceptron(c)
            self.head = nn.Linear(c.hidden, c.chunk * c.action_size)
        self.step = 0

    def forward(self, batch: Batch | Inputs) -> Output:
        """Loss and its part; the batch is that of :meth:`anyjepa.methods.act_jepa.ACTJEPA.forward`."""
        parts = self.as_batch(batch).inputs
        hidden = self.encoder(parts)
        loss = action_loss(self._chunk(hidden), parts)
        return Output(loss, {"action": loss.detach()}, hidden[:, None])

    def actions(self, x: Bundle) -> Float[Tensor, "B n A"]:
        """The next ``chunk`` actions, scaled."""
        self.check(x)
        return self._chunk(self.encoder(x))

    def after_step(self, step: int) -> None:
        """Counts."""
        self.step = step + 1

    def encode(self, x: Inputs, *, encoder: str = "target", layer: int = -1) -> Representation:
        """The last hidden layer as one token; there is one encoder, whichever is asked for."""
        self.named(encoder)
        self.check(x)
        return self.represented(self.encoder(x, layer=layer)[:, None], encoder, layer)

    def encoder_module(self, encoder: str = "target") -> nn.Module:
        """The network without its last layer."""
        self.named(encoder)
        return self.encoder

    def _chunk(self, hidden: Tensor) -> Float[Tensor, "B n A"]:
        return self.head(hidden).unflatten(1, (self.config.chunk, self.config.action_size))

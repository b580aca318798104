"""ACT: action chunking with transformers, the policy that ACT-JEPA is compared with. No JEPA.

Zhao, Kumar, Levine, Finn: Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware, RSS 2023, arXiv 2304.13705.

    z    ~ normal(mu, sigma) = style_encoder(state_t, actions t..t+n-1);  z = 0 when acting
    loss = l1( decoder(encoder(task, state_t, pictures_t, z)), actions )  +  beta KL( normal(mu, sigma), normal(0, 1) )

Encoder and decoder are those of :mod:`anyjepa.methods.act_jepa`, so that what differs is the objective. With ``latent=0`` there
is no style: the ACT of ACT-JEPA's tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.bundle import Bundle, Inputs
from anyjepa.contract import Batch, Output, Representation
from anyjepa.errors import ConfigError
from anyjepa.methods.chunking import ChunkingConfig, ChunkingPolicy, action_loss, inside, observation_encoder
from anyjepa.nn.chunks import Layer, Queries
from anyjepa.nn.positions import sincos_table
from anyjepa.randomness import uniform
from anyjepa.registry import register


@dataclass(frozen=True)
class ACTConfig(ChunkingConfig):
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    decoder_depth: int = 1
    """Layers of the decoder (the code asks for 7 and uses 1)."""
    latent: int = 32
    """Values of the style (32); 0: none."""
    style_depth: int | None = None
    """Layers of the encoder of the style; None: as many as those of the encoder (4 and 4 in the paper)."""
    beta: float = 10.0
    """Weight of the divergence of the style from a standard normal (10)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent < 0 or self.beta < 0:
            raise ConfigError(f"latent and beta must be 0 or more, got {self.latent} and {self.beta}")


class Style(nn.Module):
    """The style of a chunk: mean and log variance of a few values, from the present state and the actions.

    Args:
        config: fitted.
    """

    times: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        c = config
        self.token = nn.Parameter(torch.randn(c.dim))
        self.state = nn.Linear(c.state_size, c.dim)
        self.action = nn.Linear(c.action_size, c.dim)
        self.layers = nn.ModuleList(
            Layer(c.dim, c.heads, c.hidden, c.dropout) for _ in range(c.style_depth or c.depth)
        )
        self.out = nn.Linear(c.dim, 2 * c.latent)
        self.register_buffer("times", sincos_table((c.chunk + 2,), c.dim, interleaved=True), persistent=False)

    def forward(self, parts: Bundle) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """Mean and log variance."""
        state, valid = parts["state"][:, 0], inside(parts, "action_pad")
        actions = self.action(parts["action"])
        x = torch.cat(
            [self.token.expand(len(state), 1, -1).to(actions.dtype), self.state(state)[:, None], actions], 1
        )
        x = x + self.times
        valid = torch.cat([valid.new_ones(len(valid), 2), valid], dim=1)
        for layer in self.layers:
            x = layer(x, valid=valid)
        mean, log_variance = self.out(x[:, 0]).float().chunk(2, dim=-1)
        return mean, log_variance


@register(
    "act",
    config=ACTConfig,
    summary="baseline, no JEPA: action chunks of a conditional variational autoencoder",
    modality="episodes",
    citation="Zhao et al.: Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware, RSS 2023, arXiv 2304.13705",
    licence="no official weights; official code: MIT",
)
class ACT(ChunkingPolicy):
    """ACT as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`ACTConfig.fit`.
    """

    config: Any  # ACTConfig, nothing of which is None but style_depth

    def __init__(self, config: ACTConfig | None = None) -> None:
        super().__init__()
        config = config or ACTConfig()
        self.config = config.fit(config.default_shape)
        c: Any = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(c.seed)
            self.encoder = observation_encoder(c)
            self.decoder = Queries(
                c.chunk, c.dim, depth=c.decoder_depth, heads=c.heads, hidden=c.hidden, dropout=c.dropout
            )
            self.head = nn.Linear(c.dim, c.action_size)
            self.style = Style(c) if c.latent else None
            self.spread = nn.Linear(c.latent, c.dim) if c.latent else None
        self.step = 0

    def forward(self, batch: Batch | Inputs) -> Output:
        """Loss and its parts; the batch is that of :meth:`anyjepa.methods.act_jepa.ACTJEPA.forward`."""
        batch = self.as_batch(batch)
        parts = batch.inputs
        losses: dict[str, Tensor] = {}
        extra, penalty = None, torch.zeros((), device=parts["action"].device)
        if self.style is not None and self.spread is not None:
            mean, log_variance = self.style(parts)
            noise = _normal(batch, mean.shape[1]).to(mean)
            extra = self.spread(mean + noise * (0.5 * log_variance).exp())[:, None]
            divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()
            losses["style"] = divergence.detach()
            penalty = self.config.beta * divergence
        context = self.encoder(parts, extra=extra)
        acted = action_loss(self.head(self.decoder(context, inside(parts, "action_pad"))), parts)
        return Output(acted + penalty, losses | {"action": acted.detach()}, context)

    def actions(self, x: Bundle) -> Float[Tensor, "B n A"]:
        """The next ``chunk`` actions, scaled, of the mean style."""
        self.check(x)
        return self.head(self.decoder(self._seen(x, -1)))

    def after_step(self, step: int) -> None:
        """Counts."""
        self.step = step + 1

    def encode(self, x: Inputs, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of observations; there is one encoder, whichever is asked for."""
        self.named(encoder)
        self.check(x)
        return self.represented(self._seen(x, layer), encoder, layer)

    def encoder_module(self, encoder: str = "target") -> nn.Module:
        """The encoder."""
        self.named(encoder)
        return self.encoder

    def _seen(self, x: Any, layer: int) -> Float[Tensor, "B N D"]:
        extra = None
        if self.spread is not None:
            extra = self.spread(x["state"].new_zeros(len(x["state"]), self.config.latent))[:, None]
        return self.encoder(x, extra=extra, layer=layer)


def _normal(batch: Batch, n: int) -> Float[Tensor, "B L"]:
    """Standard normal draws of each sample, named by seed, step and index (Box and Muller)."""
    drawn = uniform(batch.seed, "act/style", batch.step, batch.index.numpy(), 2 * n)
    first, second = torch.from_numpy(drawn).chunk(2, dim=1)
    return (-2 * torch.log1p(-first)).sqrt() * torch.cos(2 * math.pi * second)

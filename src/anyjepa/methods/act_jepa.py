"""ACT-JEPA: a policy whose encoder also predicts the abstract sequence of states that its actions lead through.

Vujinovic, Kovacevic: ACT-JEPA: Novel Joint-Embedding Predictive Architecture for Efficient Policy Representation Learning,
arXiv 2501.14622 (v4).

    s    = context_encoder(task, state_t, pictures_t)
    loss = l1( decoder(s), actions t..t+n-1 )  +  l1( predictor(s), stop_gradient(target_encoder(task, states t..t+T-1)) )

The target encoder is a moving average of the context encoder and sees no pictures; decoder and predictor are learned queries
that read s by cross-attention. The state the context encoder sees is the present one alone. Acting needs neither predictor nor
target encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.bundle import Bundle, Inputs
from anyjepa.contract import Batch, Output, Representation
from anyjepa.errors import ConfigError, nearest
from anyjepa.methods.chunking import (
    ChunkingConfig,
    ChunkingPolicy,
    action_loss,
    inside,
    mean_inside,
    observation_encoder,
)
from anyjepa.methods.predictive import Predictive
from anyjepa.nn.chunks import Queries
from anyjepa.objectives.prediction import check_regularizer, prediction_loss
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.objectives.targets import TARGET_RULES
from anyjepa.registry import register

PREDICTOR: dict[str, dict[str, int]] = {
    "nano": dict(predictor_width=32, predictor_depth=2, predictor_heads=4, predictor_hidden=128),
    "tiny": dict(predictor_width=64, predictor_depth=2, predictor_heads=4, predictor_hidden=256),
    "small": dict(predictor_width=128, predictor_depth=4, predictor_heads=8, predictor_hidden=512),
    "base": dict(predictor_width=128, predictor_depth=4, predictor_heads=8, predictor_hidden=512),
}
_ELEMENTWISE = {"l1": torch.abs, "l2": torch.square}


@dataclass(frozen=True)
class ACTJEPAConfig(ChunkingConfig):
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    horizon: int | None = None
    """States of a target sequence, the present one first; None: from the data, or 30."""
    decoder_depth: int = 1
    """Layers of the decoder of actions (1)."""
    predictor_width: int | None = None
    """Width of the predictor (128)."""
    predictor_depth: int | None = None
    """Layers of the predictor (4)."""
    predictor_heads: int | None = None
    """Attention heads of the predictor (8)."""
    predictor_hidden: int | None = None
    """Width inside its feed-forward networks (512)."""
    action_weight: float = 1.0
    """Weight of the actions in the loss (1); 0 trains the representation alone."""
    state_weight: float = 1.0
    """Weight of the abstract states in the loss (1); 0 is the ACT of the paper's tables, without a style."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.996, 1.0)
    """Momentum of the moving average, linear from the first to the last step."""
    distance: Literal["l1", "l2"] = "l1"
    """Distance to the abstract states (mean absolute difference)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the paper)."""
    compat: Literal["paper", "official"] = "paper"
    """``official``: places of a map turn by 2 * 3.14 instead of 2 pi, and the target encoder's copy of the trunk keeps the batch
    statistics it began with (nobody asks that copy for pictures there; here it can be asked)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (
            ("target", TARGET_RULES),
            ("distance", _ELEMENTWISE),
            ("compat", ("paper", "official")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"unknown {name} '{getattr(self, name)}': {nearest(getattr(self, name), choices)}"
                )
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        if min(self.action_weight, self.state_weight) < 0 or self.action_weight + self.state_weight == 0:
            raise ConfigError(
                f"action_weight and state_weight must be 0 or more, not both 0, got {self.action_weight} and {self.state_weight}"
            )
        check_regularizer(self.regularizer, self.target)

    def fit(self, shape: Any = None) -> Any:
        """The same config with every None filled in; see :meth:`~anyjepa.methods.chunking.ChunkingConfig.fit`."""
        chosen = {k: v for k, v in PREDICTOR[self.size].items() if getattr(self, k) is None}
        filled = replace(super().fit(shape), **chosen, horizon=self.horizon or 30)
        if filled.predictor_width % filled.predictor_heads:
            raise ConfigError(
                f"predictor_width={filled.predictor_width} must be divisible by predictor_heads={filled.predictor_heads}"
            )
        return filled

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        c: Any = self
        return f"{super().summary()}; predictor {c.predictor_width} wide, {c.predictor_depth} layers, of {c.horizon} states"


@register(
    "act-jepa",
    config=ACTJEPAConfig,
    summary="predict actions and the abstract states they lead through, from what a robot sees and feels now",
    modality="episodes",
    citation="Vujinovic, Kovacevic: ACT-JEPA, arXiv 2501.14622",
    licence="no official weights; official code: MIT",
)
class ACTJEPA(ChunkingPolicy, Predictive):
    """ACT-JEPA as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`ACTJEPAConfig.fit`.
    """

    config: Any  # ACTJEPAConfig, nothing of which is None

    def __init__(self, config: ACTJEPAConfig | None = None) -> None:
        super().__init__(config or ACTJEPAConfig())

    def build(self, c: Any) -> None:
        """Encoder, predictor, decoder, head and their first weights."""
        turn = 2 * 3.14 if c.compat == "official" else 2 * math.pi
        self.context_encoder = observation_encoder(c, length=c.horizon, turn=turn)
        self.predictor = Queries(
            c.horizon,
            c.dim,
            width=c.predictor_width,
            depth=c.predictor_depth,
            heads=c.predictor_heads,
            hidden=c.predictor_hidden,
            dropout=c.dropout,
        )
        self.decoder = Queries(
            c.chunk, c.dim, depth=c.decoder_depth, heads=c.heads, hidden=c.hidden, dropout=c.dropout
        )
        self.head = nn.Linear(c.dim, c.action_size)

    def forward(self, batch: Batch | Inputs) -> Output:
        """Loss and intermediates.

        Args:
            batch: ``state`` (B, T, S), ``action`` (B, n, A), their pads (B, T) and (B, n), ``task`` (B, 1), pictures of the
                present (B, 3, H, W); a bare bundle is a batch of samples 0..B-1 at the current step.
        """
        c, batch = self.config, self.as_batch(batch)
        parts = batch.inputs
        valid = inside(parts, "state_pad")
        context = self.context_encoder(parts)
        acted = action_loss(self.head(self.decoder(context, inside(parts, "action_pad"))), parts)
        target = self._targets(parts)
        predicted = self.predictor(context, valid)
        element = _ELEMENTWISE[c.distance]
        states, losses = prediction_loss(
            lambda p, t: mean_inside(element(p - t).squeeze(1), valid),
            c.regularizer,
            predicted=predicted[:, None],
            target=target[:, None],
            context=context,
            seed=batch.seed,
            step=batch.step,
        )
        loss = c.action_weight * acted + c.state_weight * states
        return Output(
            loss, losses | {"action": acted.detach()}, context, predicted[:, None], target.detach()[:, None]
        )

    def _targets(self, parts: Bundle) -> Float[Tensor, "B T D"]:
        """Abstract states: what the target encoder says of the sequence of states."""
        encoder: Any = self.target_encoder
        with self.making_targets():
            return encoder.sequence(parts, inside(parts, "state_pad"))

    def actions(self, x: Bundle) -> Float[Tensor, "B n A"]:
        """The next ``chunk`` actions, scaled, by the context encoder and the decoder alone."""
        self.check(x)
        return self.head(self.decoder(self.context_encoder(x)))

    def abstract(self, x: Bundle) -> Float[Tensor, "B T D"]:
        """The abstract states that are predicted to come."""
        self.check(x)
        return self.predictor(self.context_encoder(x))

    def after_step(self, step: int) -> None:
        """Moves the target encoder."""
        super().after_step(step)
        if self.target.rule == "ema" and self.target.copy is not None and self.config.compat == "paper":
            # The copy is asked for pictures too, with moved weights: the statistics of its batch norms are those of the trunk.
            for mine, theirs in zip(self.target.copy.buffers(), self.context_encoder.buffers(), strict=True):
                mine.copy_(theirs)

    def encode(self, x: Inputs, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of observations, a token for the task, the state, and each place of each picture.

        By the moving average of the encoder (``"target"``, default), or by the ``"context"`` encoder, with which it acts.
        """
        module: Any = self.encoder_module(encoder)
        self.check(x)
        return self.represented(module(x, layer=layer), encoder, layer)

"""seq-JEPA: watch a sequence of views and the actions between them, and predict the view that the next action leads to.

Ghaemi, Muller, Bakhtiari: seq-JEPA: Autoregressive Predictive Learning of Invariant-Equivariant World Models, NeurIPS 2025,
arXiv 2505.03176.

    z_i = encoder(x_i),   a_i = the relative transformation x_i -> x_{i+1},   A = action projector
    z_AGG = aggregator([AGG], z_1|A(a_1), ..., z_{M-1}|A(a_{M-1}), z_M|0)[0]
    loss = 1 - mean cos( predictor(z_AGG | A(a_M)),  target_encoder(x_{M+1}) )

where the target encoder is a moving average of the encoder. The encoder's z keeps what actions change (equivariant), the
aggregate z_AGG what they leave (invariant). There are no positions: any number of views works. docs/methods/seq-jepa.md lists
where paper and official code differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.bundle import Bundle, Inputs
from anyjepa.contract import Batch, Layout, Output, Representation
from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.methods.predictive import Predictive
from anyjepa.methods.seq_jepa_world import SequenceWorld
from anyjepa.nn.resnet import ResidualBlock, ResNet
from anyjepa.nn.sequence import ActionProjector, Aggregator, SequencePredictor
from anyjepa.objectives.distances import distance
from anyjepa.objectives.prediction import check_regularizer, prediction_loss
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig

SIZES: dict[str, dict[str, Any]] = {
    # base is the published setting; the others are ours, for a few CPU cores.
    "nano": dict(
        widths=(16, 32, 64, 128), blocks=(1, 1, 1, 1), action_width=32, depth=2, heads=4, predictor_hidden=256
    ),
    "tiny": dict(
        widths=(32, 64, 128, 256), blocks=(1, 1, 1, 1), action_width=64, depth=3, heads=4, predictor_hidden=512
    ),
    "base": dict(
        widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), action_width=128, depth=3, heads=4, predictor_hidden=1024
    ),
}  # fmt: skip


@dataclass(frozen=True)
class SeqJEPAConfig:
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    size: str = "base"
    """One dial for all parts: nano, tiny (ours), base (ResNet-18 and the published heads)."""
    channels: int | None = None
    """Channels of a view; None: from the data."""
    image_size: tuple[int, int] | None = None
    """Height and width of a view; None: from the data."""
    action_dim: int | None = None
    """Numbers of an action; None: from the data (4 without: the relative rotation of 3DIEBench as a quaternion)."""
    actions: Literal["both", "aggregator", "predictor", "none"] = "both"
    """Who is told the actions: aggregator and predictor (Table 4: R2 .71), one of them (.37, .53), nobody (.29)."""
    stem: Literal["standard", "small", "half"] | None = None
    """First layers of the encoder: standard (7x7 of stride 2 and max-pool: 3DIEBench), small (3x3 of stride 1: CIFAR, glimpses),
    half (3x3 of stride 2, ours). None: standard from 64 pixels on; below, small for size base and half for the others."""
    widths: tuple[int, ...] | None = None
    """Widths of the stages of the encoder (64, 128, 256, 512)."""
    blocks: tuple[int, ...] | None = None
    """Residual blocks of each stage (2, 2, 2, 2)."""
    zero_init: bool = True
    """Residual blocks start as their shortcuts (`zero_init_residual`)."""
    action_width: int | None = None
    """Width of an embedded action (128); 0: the raw numbers, with zeros up to a multiple of the heads (`learn_act_emb=0`)."""
    depth: int | None = None
    """Layers of the aggregator (3)."""
    heads: int | None = None
    """Its attention heads (4)."""
    mlp_ratio: float = 4.0
    """Its feed-forward width as a multiple of its width (4)."""
    dropout: float = 0.1
    """Its dropout (0.1, PyTorch's default)."""
    predictor_hidden: int | None = None
    """Width inside the predictor (1024)."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.996, 1.0)
    """Momentum of the moving average, along a half cosine from the first to the last step (BYOL's schedule)."""
    distance: Literal["smooth_l1", "l1", "l2", "cosine"] = "cosine"
    """Distance to the target (1 - cosine)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context (views as tokens), target or prediction (none in the paper)."""
    compat: Literal["paper", "official"] = "paper"
    """``official``: the learning rate stays at its peak (its cosine is overwritten each epoch), the momentum moves once in
    ``optim.steps / 100`` steps as if these were an epoch, and with raw actions the predictor's one is always 0."""
    seed: int = 0
    """Seed of the initial weights."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            start_lr=1e-5, lr=4e-4, final_lr=1e-5, weight_decay=1e-3, final_weight_decay=1e-3
        )
    )
    """Training length and AdamW, of the paper. It warms up for 20 of 1000 or 2000 epochs: `optim.warmup_steps`."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, SIZES)}")
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.widths and self.blocks and len(self.widths) != len(self.blocks):
            raise ConfigError(f"widths={self.widths} and blocks={self.blocks} must be of as many stages")
        check_regularizer(self.regularizer, self.target)

    @property
    def default_shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) to fit to when there is no data."""
        return (self.channels or 3, *(self.image_size or (128, 128)))

    def fit(self, shape: tuple[int, ...] = (3, 128, 128)) -> SeqJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, H, W) of a view.

        Raises:
            ConfigError: views of another shape were asked for, or sizes do not divide.
        """
        if len(shape) != 3:
            raise ConfigError(
                f"seq-JEPA needs views (channels, height, width), got samples of shape {tuple(shape)}"
            )
        side = tuple(self.image_size or shape[1:])
        small: Any = "small" if self.size == "base" else "half"
        if (self.channels or shape[0], *side) != tuple(shape):
            raise ConfigError(
                f"the data have views of shape {tuple(shape)}, model.channels is {self.channels} and model.image_size is "
                f"{self.image_size}: leave the two out to take them from the data"
            )
        chosen = {k: v for k, v in SIZES[self.size].items() if getattr(self, k) is None}
        optim = replace(self.optim, final_lr=self.optim.lr) if self.compat == "official" else self.optim
        filled: Any = replace(
            self,
            **chosen,
            channels=shape[0],
            image_size=(side[0], side[1]),
            action_dim=4 if self.action_dim is None else self.action_dim,
            stem=self.stem or ("standard" if min(side) >= 64 else small),
            optim=optim,
        )
        if filled.action_dim < 1 and filled.actions != "none":
            raise ConfigError(f"action_dim must be at least 1, got {filled.action_dim}: or set actions=none")
        if filled.token_width % filled.heads:
            raise ConfigError(
                f"a token is {filled.token_width} wide, which heads={filled.heads} do not divide: change action_width"
            )
        return filled

    @property
    def conditions_aggregator(self) -> bool:
        """Whether the aggregator is told the actions."""
        return self.actions in ("both", "aggregator")

    @property
    def conditions_predictor(self) -> bool:
        """Whether the predictor is told the action to the predicted view."""
        return self.actions in ("both", "predictor")

    @property
    def embedded_action(self) -> int:
        """Width of an action as the parts take it; of a fitted config."""
        c: Any = self
        return c.action_width or -(-c.action_dim // c.heads) * c.heads

    @property
    def token_width(self) -> int:
        """Width of a token of the aggregator; of a fitted config."""
        c: Any = self
        return c.widths[-1] + (self.embedded_action if self.conditions_aggregator else 0)

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        c: Any = self
        told = "no actions" if c.actions == "none" else f"actions of {c.action_dim} numbers (to: {c.actions})"
        size = " x ".join(map(str, (c.channels, *c.image_size)))
        return (
            f"size={c.size}: views of {size}, {c.stem} stem, stages {c.widths} x {c.blocks} blocks; {told}; aggregator "
            f"{c.token_width} wide, {c.depth} layers, {c.heads} heads; predictor {c.predictor_hidden} wide"
        )


@register(
    "seq-jepa",
    config=SeqJEPAConfig,
    summary="predicts the next view of a sequence from views and actions: equivariant encoder, invariant aggregate",
    modality="views",
    citation="Ghaemi, Muller, Bakhtiari, seq-JEPA: Autoregressive Predictive Learning of Invariant-Equivariant World Models, "
    "NeurIPS 2025, arXiv 2505.03176",
    licence="official code and weights: MIT",
)
class SeqJEPA(Predictive):
    """seq-JEPA as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`SeqJEPAConfig.fit`.
    """

    config: Any  # SeqJEPAConfig, nothing of which is None

    def __init__(self, config: SeqJEPAConfig | None = None) -> None:
        super().__init__(config or SeqJEPAConfig())
        self._silent: str | None = None

    def build(self, c: Any) -> None:
        """Encoder, action projector, aggregator, predictor and their first weights."""
        self.context_encoder = ResNet(c.channels, c.widths, c.blocks, c.stem)
        self.context_encoder.initialise(c.zero_init)
        self.action_projector = (
            None if c.actions == "none" else ActionProjector(c.action_dim, c.action_width, c.heads)
        )
        self.aggregator = Aggregator(c.token_width, c.depth, c.heads, c.mlp_ratio, c.dropout)
        told = c.embedded_action if c.conditions_predictor else 0
        self.predictor = SequencePredictor(c.token_width + told, c.predictor_hidden, c.widths[-1])

    @property
    def targets_drop(self) -> bool:
        """It has no dropout, but batch norms: while training, its batches are their own statistics."""
        return True

    def forward(self, batch: Batch | Inputs) -> Output:
        """Loss and intermediates.

        In the output the views are context tokens: ``context`` (B, M, D); ``predicted`` and ``target`` are (B, 1, 1, D).

        Args:
            batch: bundles of ``views`` (B, M + 1, C, H, W), the last of which is predicted, and ``actions`` (B, M, A).
        """
        batch = self.as_batch(batch)
        views, actions = self._sequence(batch.inputs, extra=1)
        with self.making_targets():
            target = self._vectors(self.target_encoder, views[:, -1])
        seen = self._vectors(self.context_encoder, views[:, :-1].flatten(0, 1)).unflatten(0, (len(views), -1))
        predicted = self.predict(seen, actions)
        loss, losses = prediction_loss(
            distance(self.config.distance),
            self.config.regularizer,
            predicted=predicted[:, None, None],
            target=target[:, None, None],
            context=seen,
            seed=batch.seed,
            step=batch.step,
        )
        return Output(loss, losses, seen, predicted[:, None, None], target.detach()[:, None, None])

    def predict(self, seen: Float[Tensor, "B M D"], actions: Float[Tensor, "B M A"]) -> Float[Tensor, "B D"]:
        """The representation of the view that the last action leads to, from those of M views."""
        told = []
        if self.config.conditions_predictor:
            # Before those of the aggregator, so that the running statistics move in the official order.
            told = [self._embedded(self._last_action(actions))]
        aggregate = self.aggregate(seen, actions)[:, 0]
        return self.predictor(torch.cat((aggregate, *told), dim=1))

    def aggregate(
        self, seen: Float[Tensor, "B M D"], actions: Float[Tensor, "B _ A"]
    ) -> Float[Tensor, "B N E"]:
        """Tokens of the aggregator, z_AGG first, from representations of M views and the at least M - 1 actions between them."""
        if self._silent == "views":
            seen = torch.zeros_like(seen)
        if not self.config.conditions_aggregator:
            return self.aggregator(seen)
        views = seen.shape[1]
        # The last view's slot stays 0: its action is the predictor's, but the batch norm sees it where there is one.
        slots = seen.new_zeros(len(seen), 1, self.config.embedded_action)
        if actions.shape[1]:
            between = self._embedded(actions[:, :views].flatten(0, 1)).unflatten(0, (len(seen), -1))
            if self._silent == "actions":
                between = torch.zeros_like(between)
            slots = torch.cat((between[:, : views - 1], slots.to(between)), dim=1)
        return self.aggregator(torch.cat((seen, slots), dim=2))

    def momentum(self, step: int) -> float:
        """Momentum of the update after step ``step`` = 0, 1, ...: ``end - (end - start) (cos(pi t) + 1) / 2``, t = step/steps."""
        start, end = self.config.ema
        share = min(1.0, step / self.optim.horizon)
        if self.config.compat == "official":
            share = math.floor(share * 100) / 100
        return end - (end - start) * (math.cos(math.pi * share) + 1) / 2

    def encode(self, x: Inputs, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of views, or the aggregate of sequences of them.

        Args:
            x: images (B, C, H, W): tokens are the places of the encoder's map of features, pooled is their mean. Or a bundle of
                ``views`` (B, V, C, H, W) and the ``actions`` (B, V - 1, A) between them, any V: tokens are those of the
                aggregator behind each view, pooled is z_AGG. A third part is not looked at.
            encoder: ``"target"`` or ``"context"``.
            layer: stage of the encoder whose map is read.

        Raises:
            ConfigError: another shape.
            DataError: an action is not a finite number.
        """
        module = self.encoder_module(encoder)
        if not isinstance(x, Bundle):
            self.check(x)
            found = module(x, layer=layer)
            tokens = found.flatten(2).transpose(1, 2)
            return Representation(tokens, tokens.mean(dim=1), encoder, layer, Layout(tuple(found.shape[2:])))
        views, actions = self._sequence(x, extra=0)
        if not torch.isfinite(actions).all():
            raise DataError(
                "actions must be finite numbers, some are NaN or infinite: leave those sequences out"
            )
        seen = self._vectors(module, views.flatten(0, 1)).unflatten(0, tuple(views.shape[:2]))
        found = self.aggregate(seen, actions)
        return Representation(found[:, 1:], found[:, 0], encoder, layer, Layout((views.shape[1],)))

    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W) of a view."""
        return (self.config.channels, *self.config.image_size)

    def compile_units(self) -> Iterable[nn.Module]:
        """The blocks of the encoder and the layers of the aggregator."""
        return [m for m in self.modules() if isinstance(m, ResidualBlock | nn.TransformerEncoderLayer)]

    def world_model(self) -> SequenceWorld:
        """What a planner takes: observe views, step by actions, compare with a goal view. Put the method into eval mode first.

        Raises:
            ConfigError: the predictor is not told the actions, so that it cannot tell where they lead.
        """
        if not self.config.conditions_predictor:
            raise ConfigError(
                f"planning needs a predictor that is told the actions, not actions={self.config.actions}"
            )
        return SequenceWorld(self)

    @contextmanager
    def without(self, what: str) -> Iterator[None]:
        """A stretch in which the aggregator gets zeros for the embeddings of all ``"actions"``, or of all ``"views"``.

        Raises:
            ConfigError: it is neither.
        """
        if what not in ("actions", "views"):
            raise ConfigError(f"cannot leave out '{what}': {nearest(what, ('actions', 'views'))}")
        self._silent = what
        try:
            yield
        finally:
            self._silent = None

    def _vectors(self, module: nn.Module, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        return module(images).mean(dim=(2, 3))

    def _embedded(self, actions: Float[Tensor, "B A"]) -> Float[Tensor, "B E"]:
        assert self.action_projector is not None
        return self.action_projector(actions)

    def _last_action(self, actions: Float[Tensor, "B M A"]) -> Float[Tensor, "B A"]:
        raw_official = self.config.compat == "official" and self.config.action_width == 0
        return torch.zeros_like(actions[:, -1]) if raw_official else actions[:, -1]

    def _sequence(self, x: Inputs, extra: int) -> tuple[Tensor, Tensor]:
        """Views and actions, checked; ``extra``: views beside those that are observed."""
        if not isinstance(x, Bundle) or not {"views", "actions"} <= set(x):
            what = list(x) if isinstance(x, Bundle) else tuple(x.shape)
            raise ConfigError(
                f"expected input of a bundle of views (B, V, C, H, W) and actions (B, V - 1, A), got {what}"
            )
        views, actions = x["views"], x["actions"]
        if views.ndim != 5 or tuple(views.shape[2:]) != self.input_shape() or views.shape[1] < 1 + extra:
            raise ConfigError(
                f"expected input of views (B, V, {', '.join(map(str, self.input_shape()))}) with V at least {1 + extra}, got "
                f"{tuple(views.shape)}"
            )
        told = self.config.action_dim
        if self.config.actions != "none" and tuple(actions.shape[1:]) != (views.shape[1] - 1, told):
            raise ConfigError(
                f"expected input of {views.shape[1] - 1} actions of {told} numbers for {views.shape[1]} views, got "
                f"{tuple(actions.shape)}"
            )
        return views, actions

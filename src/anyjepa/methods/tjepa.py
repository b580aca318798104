"""T-JEPA: predict the representations of some columns of a table row from those of others.

Thimonier, De Melo Costa, Popineau, Rimmel, Doan: T-JEPA: Augmentation-Free Self-Supervised Learning for Tabular Data, ICLR 2025,
arXiv 2410.05016.

    loss = mse( predictor(context_encoder(REG, x[context]), positions[target]),  target_encoder(REG, x)[target] )

where the target encoder is a moving average of the context encoder, and both end in a layer norm. The [REG] token is what keeps
training out of collapse: always visible, never predicted, dropped before the predictor and afterwards. ``compat=official`` brings
back what the official code does otherwise; docs/methods/tjepa.md lists it.

A row travels as floats (B, 1, d): numbers scaled, categories as their codes 0, 1, ..., NaN where a value is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from anyjepa.contract import Batch, Layout, Masks, Output, Representation
from anyjepa.errors import ConfigError, nearest
from anyjepa.masking.features import FeatureMaskConfig, feature_masks
from anyjepa.methods.predictive import Predictive
from anyjepa.nn.columns import ColumnEncoder, ColumnPredictor, PostNormTail, initialise_columns, pick
from anyjepa.objectives.distances import distance
from anyjepa.objectives.prediction import check_regularizer, prediction_loss
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig
from anyjepa.tokenizers.columns import ColumnTokenizer

SIZES: dict[str, dict[str, Any]] = {
    # small is the published setting for Jannis; the others are ours, within the ranges that were searched.
    "nano": dict(
        dim=32, depth=2, heads=2, hidden=64, dropout=0.0, positions=0.1,
        predictor_width=16, predictor_depth=2, predictor_heads=2, predictor_hidden=64, predictor_dropout=0.0,
    ),
    "tiny": dict(
        dim=64, depth=4, heads=4, hidden=128, dropout=0.0, positions=0.1,
        predictor_width=32, predictor_depth=4, predictor_heads=4, predictor_hidden=128, predictor_dropout=0.0,
    ),
    "small": dict(
        dim=64, depth=16, heads=2, hidden=64, dropout=0.00185, positions=1.0,
        predictor_width=16, predictor_depth=16, predictor_heads=4, predictor_hidden=256, predictor_dropout=0.00193,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class TJEPAConfig:
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    size: str = "small"
    """One dial for all parts: nano, tiny (ours), small (the published setting for Jannis, 54 columns)."""
    columns: int | None = None
    """Columns d of a row; None: from the data."""
    cardinalities: tuple[int, ...] | None = None
    """For each column its number of categories, 0 where it holds numbers; None: from the data, or numbers alone."""
    registers: int = 1
    """[REG] tokens (1 in the paper; with none training stays collapsed)."""
    dim: int | None = None
    """Width of the encoder (64; searched 2 to 128)."""
    depth: int | None = None
    """Layers of the encoder (16)."""
    heads: int | None = None
    """Attention heads of the encoder (2)."""
    hidden: int | None = None
    """Width inside its feed-forward networks (64)."""
    dropout: float | None = None
    """Dropout of the encoder (0.00185)."""
    positions: float | None = None
    """Amplitude of the sinusoids that are added to the tokens of the encoder (1 in the paper; 0.1 in nano and tiny). What a
    cell says starts at 1/√dim per standard deviation: under sinusoids of 1 it is a few percent of a token, and hundreds of
    steps pass before anything of it is predicted."""
    predictor_width: int | None = None
    """Width of the predictor, even (16)."""
    predictor_depth: int | None = None
    """Layers of the predictor (16)."""
    predictor_heads: int | None = None
    """Attention heads of the predictor (4)."""
    predictor_hidden: int | None = None
    """Width inside its feed-forward networks (256)."""
    predictor_dropout: float | None = None
    """Dropout of the predictor (0.00193)."""
    activation: Literal["relu", "gelu"] = "relu"
    """Activation of the feed-forward networks."""
    type_embedding: bool = True
    """Learned vectors for numbers and for categories, in tables that have both (on for Adult, the one such
    table that was tuned)."""
    index_embedding: bool = False
    """A learned vector for each column. The code crashes with it and all published settings switch it off: columns are known by
    their own weights and the sinusoid."""
    masks: FeatureMaskConfig = field(default_factory=FeatureMaskConfig)
    """Which columns are context, which are targets."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.996, 1.0)
    """Momentum of the moving average, linear from the first to the last step."""
    target_dropout: bool | None = None
    """Dropout in the target encoder while training; None: off, on with compat=official."""
    clamp: float | None = None
    """Largest element of a gradient of the context encoder (official: 1, by hooks on each parameter); None: none, 1 with
    compat=official."""
    distance: Literal["smooth_l1", "l1", "l2", "cosine"] = "l2"
    """Distance to the targets (mean squared difference)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the paper)."""
    compat: Literal["paper", "official"] = "paper"
    """``official``: [REG] tokens are masked, predicted and kept like columns, the last column is never trained, all target sets
    of a row are equal, types are given to the wrong tokens, missing values are an error."""
    seed: int = 0
    """Seed of the initial weights, and of the masks of a bare tensor."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            start_lr=0.0,
            lr=3.658682841082736e-4,
            final_lr=0.0,
            weight_decay=0.0,
            final_weight_decay=0.0,
        )
    )
    """Training length and AdamW: the rate published for Jannis, no weight decay. The paper trains 300 epochs of batches of 512
    and warms up for 10 of them: `optim.warmup_steps` = steps / 30."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, SIZES)}")
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        if self.registers < 0:
            raise ConfigError(f"registers must be 0 or more, got {self.registers}")
        if self.cardinalities and min(self.cardinalities) < 0:
            raise ConfigError(
                f"cardinalities are numbers of categories, 0 for numbers; got {self.cardinalities}"
            )
        if self.compat == "official" and self.index_embedding:
            raise ConfigError("the official code cannot run with index_embedding: use compat=paper with it")
        check_regularizer(self.regularizer, self.target)

    @property
    def default_shape(self) -> tuple[int, int]:
        """Shape (1, d) to fit to when there is no data: that of Jannis, unless the config says otherwise."""
        return (1, self.columns or len(self.cardinalities or ()) or 54)

    def fit(self, shape: tuple[int, ...] = (1, 54)) -> TJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (1, d) of a row.

        Raises:
            ConfigError: sizes do not divide, or the columns are too few for the masks.
        """
        if len(shape) != 2 or shape[0] != 1:
            raise ConfigError(f"T-JEPA needs rows (1, columns), got samples of shape {tuple(shape)}")
        columns = self.columns or shape[1]
        kinds = self.cardinalities or (0,) * columns
        if len(kinds) != columns or columns != shape[1]:
            raise ConfigError(
                f"the rows have {shape[1]} columns, model.columns is {columns} and model.cardinalities are {len(kinds)}: leave "
                "the two out to take them from the data"
            )
        chosen = {k: v for k, v in SIZES[self.size].items() if getattr(self, k) is None}
        official = self.compat == "official"
        # Any: nothing is None from here on
        filled: Any = replace(self, **chosen, columns=columns, cardinalities=tuple(kinds))
        for width, heads in (("dim", "heads"), ("predictor_width", "predictor_heads")):
            if getattr(filled, width) % 2 or getattr(filled, width) % getattr(filled, heads):
                raise ConfigError(
                    f"{width}={getattr(filled, width)} must be even and divisible by {heads}={getattr(filled, heads)}"
                )
        for name in ("dropout", "predictor_dropout"):
            if not 0.0 <= getattr(filled, name) < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(filled, name)}")
        if not 0.0 <= filled.positions < math.inf:
            raise ConfigError(f"positions must be a finite number from 0 on, got {filled.positions}")
        filled.masks.bounds(columns)
        clamp = (1.0 if official else None) if self.clamp is None else self.clamp
        noisy = official if self.target_dropout is None else self.target_dropout
        return replace(filled, clamp=clamp, target_dropout=noisy)

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        c: Any = self
        categories = sum(1 for size in c.cardinalities if size)
        (a, b), (p, q) = c.masks.bounds(c.columns)
        return (
            f"size={c.size}: {c.columns} columns ({c.columns - categories} of numbers, {categories} of categories), "
            f"{c.registers} [REG]; encoder {c.dim} wide, {c.depth} layers, {c.heads} heads; predictor {c.predictor_width} wide, "
            f"{c.predictor_depth} layers; {p} to {q} columns are predicted from {a} to {b}, {c.masks.blocks} times"
        )


@register(
    "tjepa",
    config=TJEPAConfig,
    summary="predicts the features of some columns of a table row from the others; no augmentation",
    modality="tables",
    citation="Thimonier et al., T-JEPA: Augmentation-Free Self-Supervised Learning for Tabular Data, ICLR 2025, arXiv 2410.05016",
    licence="no official weights; official code: MIT",
)
class TJEPA(Predictive):
    """T-JEPA as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`TJEPAConfig.fit`.
    """

    config: Any  # TJEPAConfig, nothing of which is None

    def __init__(self, config: TJEPAConfig | None = None) -> None:
        super().__init__(config or TJEPAConfig())
        clamp = self.config.clamp
        if clamp is not None:
            for parameter in self.context_encoder.parameters():
                parameter.register_hook(lambda gradient: gradient.clamp(-clamp, clamp))

    def build(self, c: Any) -> None:
        """Tokenizer, encoder, predictor and their first weights."""
        tokenizer = ColumnTokenizer(
            c.cardinalities,
            c.dim,
            registers=c.registers,
            types=c.type_embedding,
            index=c.index_embedding,
            missing=not self.official,
            numbers_first=self.official,
        )
        trunk = PostNormTail(c.dim, c.depth, c.heads, c.hidden, c.dropout, activation=c.activation)
        self.context_encoder = ColumnEncoder(tokenizer, trunk, apart=not self.official, amplitude=c.positions)
        self.predictor = ColumnPredictor(
            c.columns,
            dim=c.dim,
            width=c.predictor_width,
            depth=c.predictor_depth,
            heads=c.predictor_heads,
            hidden=c.predictor_hidden,
            dropout=c.predictor_dropout,
            activation=c.activation,
        )
        initialise_columns(self, categories=self.official)

    @property
    def official(self) -> bool:
        """Whether the official code's behaviour is asked for."""
        return bool(self.config.compat == "official")

    @property
    def layout(self) -> Layout:
        """One token per column; with compat=official the [REG] tokens stand in front and numbers before categories."""
        return Layout((self.config.columns + (self.config.registers if self.official else 0),))

    @property
    def token_columns(self) -> tuple[int | None, ...]:
        """The column behind each token, None for a [REG] token."""
        order = self.context_encoder.tokenizer.order.tolist()
        return ((None,) * self.config.registers if self.official else ()) + tuple(order)

    @property
    def targets_drop(self) -> bool:
        """Where the config says so."""
        return bool(self.config.target_dropout)

    def draw_masks(self, batch: Batch) -> Masks:
        """The masks of a batch, on the CPU."""
        c = self.config
        return feature_masks(
            c.masks,
            c.columns,
            seed=batch.seed,
            step=batch.step,
            index=batch.index.numpy(),
            official=self.official,
        )

    def forward(self, batch: Batch | Tensor, masks: Masks | None = None) -> Output:
        """Loss and intermediates.

        Args:
            batch: rows; a bare tensor (B, 1, d) is a batch of samples 0..B-1 at the current step.
            masks: masks to use instead of drawn ones.
        """
        batch = self.as_batch(batch)
        self.check(batch.inputs)
        masks = (masks or self.draw_masks(batch)).to(batch.inputs.device)
        with self.making_targets():
            target = pick(self.target_encoder(batch.inputs), masks.targets)
        context = self.context_encoder(batch.inputs, masks.context)
        predicted = self.predictor(context, masks.context, masks.targets)
        loss, losses = prediction_loss(
            distance(self.config.distance),
            self.config.regularizer,
            predicted=predicted,
            target=target,
            context=context,
            seed=batch.seed,
            step=batch.step,
        )
        return Output(loss, losses, context, predicted, target.detach(), masks)

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of whole rows (B, 1, d), a token per column, by the ``"target"`` (default) or ``"context"`` encoder."""
        module = self.encoder_module(encoder)
        self.check(x)
        tokens = module(x, layer=layer)
        return Representation(tokens, tokens.mean(dim=1), encoder, layer, self.layout)

    def input_shape(self) -> tuple[int, ...]:
        """(1, d)."""
        return (1, self.config.columns)

"""S-JEPA: predict the representations of hidden electrodes of an EEG from the others.

Guetschel, Moreau, Tangermann: S-JEPA: towards seamless cross-dataset transfer through dynamic spatial attention, 9th Graz
Brain-Computer Interface Conference 2024, pp. 11-16, doi 10.3217/978-3-99161-014-4-003, arXiv 2403.11772.

    h = local_encoder(x) + positions                                      one token per channel and second
    loss = l1( predictor(context_encoder(h[context]), positions[target]),  target_encoder(h)[target] )

The context encoder has a moving average as target encoder; local encoder and positions are shared by both sides and learn from
the context side. No code for pretraining was published: architecture and positions follow the first author's code of the encoder
in braindecode, the optimizer that of the successor (arXiv 2609.33487). What neither says is a field.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from anyjepa.contract import Batch, Layout, Masks, Method, Output, Representation
from anyjepa.errors import ConfigError, nearest
from anyjepa.masking.spheres import SphereConfig, distinct, neighbours, spheres
from anyjepa.nn.attention import take
from anyjepa.nn.electrodes import ElectrodeCode, check_names, check_positions, places_of
from anyjepa.nn.postnorm import PostNormEncoder, PostNormPredictor, initialise_postnorm
from anyjepa.objectives.distances import distance
from anyjepa.objectives.prediction import rescued
from anyjepa.objectives.regularizers import RegularizerConfig, regularize
from anyjepa.objectives.targets import TargetRule
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig, ema_momentum
from anyjepa.tokenizers.channels import ChannelTokenizer, channel_layout, reach_of

SIZES: dict[str, dict[str, Any]] = {
    # nano is ours; the paper has one size.
    "nano": dict(dim=64, depth=2, heads=8, hidden=128, predictor_depth=1),
    "base": dict(dim=64, depth=8, heads=8, hidden=2048, predictor_depth=4),
}

PAPER_SAMPLES = 2072
"""Samples of a window in the paper's best runs: 16 tokens, 16.1875 s."""


@dataclass(frozen=True)
class SJEPAConfig:
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    size: str = "base"
    """One dial for all parts: base (the paper's) or nano (ours)."""
    channels: tuple[str, ...] | None = None
    """Names of the channels, in the order of the data; None: 0, 1, 2, ..."""
    positions: tuple[tuple[float, ...], ...] | None = None
    """Place of each channel: x, y, z in metres, or nothing where it is not known. The data's reader knows them."""
    samples: int | None = None
    """Samples of a window in training; None: from the data (paper: 152, 536 or 2072; 2072 is best)."""
    rate: float = 128.0
    """Samples per second (paper), for what is printed: the network itself knows samples alone."""
    local: tuple[tuple[int, int, int], ...] | None = None
    """Width, kernel and stride of each local convolution; None: (8, 32, 8), (16, 2, 2), (32, 2, 2), (64, 2, 2), (64, 2, 2) as in
    the official code, the widths in proportion to ``dim``."""
    local_dropout: float = 0.0
    """Dropout in the local encoder (0 in the official code)."""
    dim: int | None = None
    """Width of the tokens."""
    spatial: int | None = None
    """Dimensions of a token's code that are for its channel; the others are for time. None: 30 of 64, as in the paper."""
    coordinate_scale: float | None = None
    """Metres that the code of places is scaled by; None: the largest absolute coordinate of ``positions``. A model that moves to
    other channels keeps it (the official code takes it anew, which changes the code of every channel)."""
    longest: float = 600.0
    """Base of the frequencies of the code of time, in tokens (ten minutes)."""
    time_first: bool = False
    """Time in the first dimensions of the code (the paper's text); the official code has it in the last."""
    depth: int | None = None
    """Layers of the context encoder (8 in the paper)."""
    heads: int | None = None
    """Attention heads of encoder and predictor (8)."""
    hidden: int | None = None
    """Width inside the feed-forward networks (2048: PyTorch's default, in the official code)."""
    dropout: float = 0.1
    """Dropout of encoder and predictor (PyTorch's default, in the official code)."""
    target_dropout: bool = False
    """Dropout in the target encoder too. Without it the targets of an input depend on nothing else (the paper does not say)."""
    predictor_depth: int | None = None
    """Layers of the predictor (4)."""
    predictor_join: bool = True
    """The context goes in front of the queries too (paper, figure 1), and not only into the cross-attention (successor)."""
    masks: SphereConfig = field(default_factory=SphereConfig)
    """Which channels are hidden."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.999, 1.0)
    """Momentum of the moving average, linear from the first to the last step (not stated; the successor's)."""
    distance: Literal["smooth_l1", "l1", "l2", "cosine"] = "l1"
    """Distance to the targets, mean over all hidden tokens of the batch (paper: L1; successor: l2)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the paper)."""
    seed: int = 0
    """Seed of the initial weights, and of the masks of a bare tensor."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            start_lr=1e-6, lr=1e-3, final_lr=1e-6, weight_decay=0.01, final_weight_decay=0.01, clip=3.0
        )
    )
    """Training length, AdamW and its schedules (not stated; the successor's: rate 1e-3, cosine, decay 0.01, clipping at 3)."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, SIZES)}")
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        for name in ("dropout", "local_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        r = self.regularizer
        if r.kind != "none" and r.on == "target" and self.target != "online":
            raise ConfigError(
                f"regularizer.on=target needs target=online: with target={self.target} the targets carry no gradient; "
                "set target=online, or regularizer.on to context or prediction"
            )
        if self.channels is not None:
            check_names(self.channels)
        if self.positions is not None:
            check_positions(self.positions)

    @property
    def default_shape(self) -> tuple[int, int]:
        """Shape (C, T) to fit to when there is no data."""
        return (len(self.positions or ()), self.samples or PAPER_SAMPLES)

    def with_channels(
        self, channels: Iterable[str], positions: Iterable[Iterable[float]] | np.ndarray
    ) -> SJEPAConfig:
        """The same config for these channels, in this order.

        Args:
            channels: C names.
            positions: (C, 3) in metres; a row of NaN, or an empty one, where a place is unknown.
        """
        rows = tuple(tuple(float(v) for v in row) for row in positions)
        known = tuple(() if any(math.isnan(v) for v in row) else row for row in rows)
        return replace(self, channels=tuple(channels), positions=known)

    def fit(self, shape: tuple[int, ...]) -> SJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, T) of a window.

        Raises:
            ConfigError: the places of the channels are not known, are not as many as the data's channels, or sizes do not fit.
        """
        if len(shape) != 2:
            raise ConfigError(
                f"S-JEPA needs windows (channels, samples), got samples of shape {tuple(shape)}"
            )
        if self.positions is None:
            raise ConfigError(
                "S-JEPA must know where on the head each channel is: set model.channels and model.positions (metres), "
                "or take both from anyjepa.data.eeg, which looks names up in a standard montage"
            )
        channels = self.channels or tuple(str(i) for i in range(len(self.positions)))
        if not len(channels) == len(self.positions) == shape[0]:
            raise ConfigError(
                f"{shape[0]} channels in the data, but {len(channels)} names and {len(self.positions)} positions: give one "
                "of each for every channel, in the order of the data"
            )
        if sum(map(bool, self.positions)) < 2:
            raise ConfigError("spheres of electrodes need the positions of at least two channels")
        chosen = {k: v for k, v in SIZES[self.size].items() if getattr(self, k) is None}
        # Any: nothing is None from here on
        filled: Any = replace(self, **chosen, channels=channels, samples=self.samples or shape[1])
        dim = filled.dim
        if dim % filled.heads or dim % 2:
            raise ConfigError(f"dim={dim} must be even and divisible by {filled.heads} heads")
        local = self.local or tuple(
            (max(1, dim * w // 64), k, s)
            for w, k, s in ((8, 32, 8), (16, 2, 2), (32, 2, 2), (64, 2, 2), (64, 2, 2))
        )
        if local[-1][0] != dim:
            raise ConfigError(f"the last local convolution is {local[-1][0]} wide, the tokens are dim={dim}")
        spatial = self.spatial or max(6, round(dim * 30 / 64 / 6) * 6)
        if spatial % 6 or not 6 <= spatial <= dim - 2:
            raise ConfigError(
                f"spatial={spatial} must be a multiple of 6 and leave at least 2 of dim={dim} for time"
            )
        scale = self.coordinate_scale or max(abs(v) for row in self.positions for v in row)
        filled = replace(filled, local=local, spatial=spatial, coordinate_scale=scale)
        channel_layout(len(channels), filled.samples, local)
        return filled

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        c: Any = self
        layout = channel_layout(len(c.channels), c.samples, c.local)
        seen, step = reach_of(c.local)
        spare = c.samples - seen - (layout.grid[1] - 1) * step
        sizes = neighbours(places_of(c.positions), c.masks.reach).sum(1)[[bool(row) for row in c.positions]]
        return (
            f"size={c.size}: {layout.grid[0]} channels x {layout.grid[1]} tokens ({c.samples / c.rate:g} s at {c.rate:g} Hz"
            f"{f', the last {spare} of {c.samples} samples unused' if spare else ''}); encoder {c.dim} wide, {c.depth} layers, "
            f"{c.heads} heads; predictor {c.predictor_depth} layers; a sphere hides {sizes.mean():.1f} channels "
            f"({sizes.min()} to {sizes.max()})"
        )


@register(
    "sjepa",
    config=SJEPAConfig,
    summary="predicts the features of hidden electrodes of an EEG from the others",
    modality="eeg",
    citation="Guetschel, Moreau, Tangermann, S-JEPA, Graz BCI Conference 2024, arXiv 2403.11772",
    licence="official weights: MIT (braindecode/signal-jepa)",
)
class SJEPA(Method):
    """S-JEPA as a module. See the file header for the equation.

    Training windows have the shape of the config; :meth:`encode` takes windows of any length. For other channels see
    :meth:`with_channels`.

    Args:
        config: what is None in it is filled in by :meth:`SJEPAConfig.fit`; the positions of the channels must be given.
    """

    config: SJEPAConfig

    def __init__(self, config: SJEPAConfig | None = None) -> None:
        super().__init__()
        config = config or SJEPAConfig()
        self.config = config.fit(config.default_shape)
        c: Any = self.config  # Any: nothing is None in a fitted config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(c.seed)
            self.tokenizer = ChannelTokenizer(c.local, c.local_dropout)
            self.positions = ElectrodeCode(
                torch.from_numpy(places_of(c.positions)),
                dim=c.dim,
                spatial=c.spatial,
                scale=c.coordinate_scale,
                longest=c.longest,
                time_first=c.time_first,
            )
            self.context_encoder = PostNormEncoder(c.dim, c.depth, c.heads, c.hidden, c.dropout)
            self.predictor = PostNormPredictor(
                c.dim, c.predictor_depth, c.heads, c.hidden, c.dropout, join=c.predictor_join
            )
            initialise_postnorm(self.context_encoder)
            initialise_postnorm(self.predictor)
        self.target = TargetRule(self.context_encoder, c.target)
        self.step = 0
        self.train()

    @property
    def layout(self) -> Layout:
        """How the tokens of a training window lie: (channels, tokens of time)."""
        return self.tokenizer.layout(*self.input_shape())

    @property
    def target_encoder(self) -> nn.Module:
        """The encoder that makes the targets."""
        return self.target.encoder(self.context_encoder)

    def train(self, mode: bool = True) -> SJEPA:
        """Training mode; the target encoder's dropout stays off unless the config says otherwise."""
        super().train(mode)
        if self.target.copy is not None:
            self.target.copy.train(mode and self.config.target_dropout)
        return self

    def draw_masks(self, batch: Batch) -> Masks:
        """The masks of a batch, on the CPU."""
        places = places_of(self.config.positions or ())
        return spheres(
            self.config.masks,
            self.layout,
            places,
            seed=batch.seed,
            step=batch.step,
            index=batch.index.numpy(),
        )

    def forward(self, batch: Batch | Tensor, masks: Masks | None = None) -> Output:
        """Loss and intermediates.

        Args:
            batch: windows in microvolts; a bare tensor (B, C, T) is a batch of samples 0..B-1 at the current step.
            masks: masks to use instead of drawn ones: one target block each, in ascending order (see
                :func:`anyjepa.masking.spheres.distinct` for its padding).
        """
        if isinstance(batch, Tensor):
            batch = Batch(batch, torch.arange(len(batch)), step=self.step, seed=self.config.seed)
        if tuple(batch.inputs.shape[1:]) != self.input_shape():
            raise ConfigError(
                f"expected input (B, {', '.join(map(str, self.input_shape()))}), got {tuple(batch.inputs.shape)}"
            )
        masks = (masks or self.draw_masks(batch)).to(batch.inputs.device)
        if masks.targets.shape[1] != 1:
            raise ConfigError(f"S-JEPA predicts one target block per sample, got {masks.targets.shape[1]}")
        wanted = masks.targets.flatten(1)
        asked = distinct(masks.targets).flatten(1)

        code = self.positions(self.layout.grid[1])
        tokens = self.tokenizer(batch.inputs) + code
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.target.has_gradient):
            target = take(self.target_encoder(tokens), wanted)
        context = self.context_encoder(take(tokens, masks.context), valid=masks.context_valid)
        predicted = self.predictor(context, code[wanted], valid=masks.context_valid, asked=asked)

        prediction = distance(self.config.distance)(predicted[asked].float(), target[asked].float())
        loss, losses = prediction, {"prediction": prediction.detach()}
        regularizer, on = self.config.regularizer, self.config.regularizer.on
        regular = {"context": context, "target": target, "prediction": predicted}[on]
        valid = masks.context_valid if on == "context" else asked
        term = regularize(regularizer, regular.float(), valid, seed=batch.seed, step=batch.step)
        if term is not None:
            loss, losses["regularizer"] = prediction + regularizer.weight * term, term.detach()
        return Output(loss, losses, context, predicted.unsqueeze(1), target.detach().unsqueeze(1), masks)

    def after_step(self, step: int) -> None:
        """Moves the target encoder: momentum of equation ``m_i = m_0 + i (m_1 - m_0) / horizon``, i = ``step`` from 0."""
        self.step = step + 1
        self.target.update(self.context_encoder, ema_momentum(*self.config.ema, self.optim, step))

    def rescue(self) -> str | None:
        """Switches on VICReg's terms where no regularizer is at work."""
        self.config, told = rescued(self.config)
        return told

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of windows (B, C, T') of any length by the ``"target"`` (default) or the ``"context"`` encoder.

        The published weights and the paper's downstream models are the context encoder.
        """
        if encoder not in ("target", "context"):
            raise ConfigError(f"unknown encoder '{encoder}': {nearest(encoder, ('target', 'context'))}")
        channels = self.config.channels or ()
        if x.ndim != 3 or x.shape[1] != len(channels):
            raise ConfigError(
                f"expected input (B, {len(channels)}, samples) with the channels {', '.join(channels)}, got {tuple(x.shape)}; "
                "for other channels use with_channels"
            )
        layout = self.tokenizer.layout(x.shape[1], x.shape[2])
        module = self.target_encoder if encoder == "target" else self.context_encoder
        tokens = module(self.tokenizer(x) + self.positions(layout.grid[1]), layer=layer)
        return Representation(tokens, tokens.mean(dim=1), encoder, layer, layout)

    def with_channels(
        self,
        channels: Iterable[str],
        positions: Iterable[Iterable[float]] | np.ndarray | None = None,
        *,
        rows: Literal["trained", "strict", "computed"] = "trained",
    ) -> SJEPA:
        """The same model for other channels: a copy that shares nothing with this one.

        Args:
            channels: their C' names.
            positions: (C', 3) in metres; NaN or empty where unknown. Where it is not given, a known name has the
                place it has in the config.
            rows: ``"trained"`` gives a channel of a known name (in any case of letters) its trained code, and every other one
                the code computed from its place; ``"strict"`` accepts known names only; ``"computed"`` computes all codes.

        Raises:
            ConfigError: a channel that has neither a known name nor a place, or is unknown under ``"strict"``.
        """
        c, names = self.config, tuple(channels)
        old = {name.casefold(): i for i, name in enumerate(c.channels or ())}
        own = [(c.positions or ())[old[n.casefold()]] if n.casefold() in old else () for n in names]
        asked = c.with_channels(names, own if positions is None else positions)
        places = tuple(place or mine for place, mine in zip(asked.positions or (), own, strict=False))
        fitted = replace(asked, positions=places)
        source = [old.get(name.casefold()) if rows != "computed" else None for name in names]
        strange = [
            name
            for name, row, place in zip(names, source, places, strict=False)
            if row is None and (rows == "strict" or not place)
        ]
        if strange:
            raise ConfigError(
                f"no code for the channels {', '.join(strange)}: the model was trained with {', '.join(c.channels or ())}"
                + ("" if rows == "strict" else "; give their positions to have codes computed")
            )
        other = SJEPA(fitted.fit((len(names), self.input_shape()[1])))
        state = {k: v for k, v in self.state_dict().items() if k != "positions.table"}
        other.load_state_dict(state, strict=False)
        with torch.no_grad():
            for i, row in enumerate(source):
                if row is not None:
                    other.positions.table[i] = self.positions.table[row].to(other.positions.table.device)
        other.step = self.step
        return other.to(self.positions.table.device).train(self.training)

    def input_shape(self) -> tuple[int, ...]:
        """(C, T) of a training window."""
        return (len(self.config.channels or ()), self.config.samples or 0)

    def compile_units(self) -> Iterable[nn.Module]:
        """The layers of encoders and predictor."""
        kinds = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
        return [module for module in self.modules() if isinstance(module, kinds)]

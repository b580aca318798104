"""V-JEPA: predict the representations of hidden tubes of a video clip from the rest of it.

Bardes, Garrido, Ponce, Chen, Rabbat, LeCun, Assran, Ballas: Revisiting Feature Prediction for Learning Visual Representations
from Video, TMLR 2024, arXiv 2404.08471; V-JEPA 2: arXiv 2506.09985; V-JEPA 2.1: arXiv 2603.14482.

    loss = mean | predictor(context_encoder(x[context]), positions[target]) - layer_norm(target_encoder(x))[target] |

averaged over two kinds of mask: every clip is masked by many small and by few large tubes. The target encoder, a moving average
of the context encoder, sees the clip once for both. ``positions=rotary`` is V-JEPA 2; ``context_loss`` with ``levels`` is V-JEPA
2.1, whose predictor also answers for what it sees, so that visible tokens stay local.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.contract import Batch, Layout, Masks, Output, Representation
from anyjepa.errors import ConfigError, nearest
from anyjepa.masking.tubes import TubeMaskConfig, tube_masks
from anyjepa.masking.wanted import gather_targets, wanted_tokens
from anyjepa.methods.predictive import Predictive
from anyjepa.nn.levels import LevelEncoder
from anyjepa.nn.predictor import Predictor
from anyjepa.nn.transformer import initialise
from anyjepa.nn.vit import VIT_SIZES, check_width
from anyjepa.objectives.context import context_loss, nearest_target
from anyjepa.objectives.distances import distance
from anyjepa.objectives.prediction import check_regularizer, prediction_loss
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig
from anyjepa.tokenizers.patches import PatchTokenizer, patch_layout

PREDICTOR_SIZES: dict[str, dict[str, Any]] = {
    # All but nano and tiny: the paper's.
    "nano": dict(predictor_width=64, predictor_depth=3),
    "tiny": dict(predictor_width=96, predictor_depth=6),
    **{
        size: dict(predictor_width=384, predictor_depth=12)
        for size in ("small", "base", "large", "huge", "giant")
    },
}


@dataclass(frozen=True)
class VJEPAConfig:
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    size: str = "tiny"
    """One dial for all parts: nano, tiny (ours), small, base, large, huge, giant."""
    frames: int | None = None
    """Frames of a clip; None: from the data (16 in the paper)."""
    image_size: tuple[int, int] | None = None
    """Height and width of a frame in pixels; None: from the data (224 in the paper, 256 in V-JEPA 2)."""
    channels: int | None = None
    """Input channels; None: from the data."""
    tubelet: int = 2
    """Frames of a token."""
    patch_size: int | None = None
    """Side of a token in pixels; None: 16, or less where a frame would have fewer than 7 tokens along its shorter side."""
    dim: int | None = None
    """Width of the encoder."""
    depth: int | None = None
    """Blocks of the encoder."""
    heads: int | None = None
    """Attention heads of the encoder (giant: 16 here, 22 in V-JEPA 2)."""
    mlp_ratio: float | None = None
    """Hidden width of the MLPs over the width."""
    positions: Literal["sincos", "rotary", "rotary_tiled"] = "sincos"
    """Positions of encoder and predictor: fixed 3-D sin-cos (V-JEPA), rotary over time, row, column (V-JEPA 2.1), or rotary with
    the slip of the released V-JEPA 2 models."""
    rotary_span: float | None = None
    """Rotary positions of the encoder stretch rows and columns to 0..this, whatever their number (V-JEPA 2.1: 15); None: they are
    counted."""
    predictor_width: int | None = None
    """Width of the predictor (384 in the papers)."""
    predictor_depth: int | None = None
    """Blocks of the predictor (12; 24 in V-JEPA 2.1)."""
    predictor_heads: int | None = None
    """Attention heads of the predictor; None: those of the encoder (12 in V-JEPA 2)."""
    mask_tokens: Literal["kind", "one"] = "kind"
    """One mask token for each kind of mask, as in V-JEPA, or one for both: V-JEPA 2 counts otherwise and trains one only."""
    depth_rescale: bool = False
    """Divide output projections by sqrt(2 l) at the start: V-JEPA 2 does, the factory of V-JEPA undoes it."""
    patch_std: float | None = None
    """Standard deviation of the initial tubelet projection. None: 0.02 * sqrt(1536 / values), the official 0.02 for 2x16x16
    colour tubelets and tokens of the same size for smaller ones."""
    short_range: TubeMaskConfig = field(default_factory=TubeMaskConfig)
    """The masks of many small blocks."""
    long_range: TubeMaskConfig = field(
        default_factory=lambda: TubeMaskConfig(blocks=2, spatial_scale=(0.7, 0.7))
    )
    """The masks of few large blocks."""
    ranges: Literal["both", "short", "long"] = "both"
    """Which kinds of mask every clip gets (two are better than one, paper table 10)."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.998, 1.0)
    """Momentum of the moving average, linear over the stretched training (V-JEPA 2: 0.99925 throughout)."""
    target_norm: bool = True
    """Layer norm without affine on the targets (eps 1e-5)."""
    distance: Literal["smooth_l1", "l1", "l2", "cosine"] = "l1"
    """Distance to the targets."""
    levels: tuple[int, ...] = ()
    """Blocks whose outputs, each with a norm of its own, are predicted side by side, the last block among them; empty: the last
    alone. V-JEPA 2.1: four evenly spaced ones, 2 5 8 11 of 12."""
    context_loss: float = 0.0
    """Weight of the distance at context tokens, each over the square root of its distance to the nearest target (V-JEPA 2.1:
    0.5)."""
    context_loss_from: tuple[float, float] = (0.05, 0.1)
    """That weight is 0 up to this share of the training and grows linearly to the second (2.1: steps 15,000 and 30,000 of
    300,000)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the papers)."""
    seed: int = 0
    """Seed of the initial weights, and of the masks of bare clips."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(start_lr=2e-4, lr=6.25e-4, final_lr=1e-6, stretch=1.25)
    )
    """Training length, AdamW and its schedules: 90,000 steps of 3072 clips, 12,000 of them warm-up. (The code also cuts gradients
    to norm 10 after 40 of 300 epochs: optim.clip=10 cuts from the start.)"""

    def __post_init__(self) -> None:
        if self.size not in VIT_SIZES:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, VIT_SIZES)}")
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        if self.context_loss < 0 or not 0 <= self.context_loss_from[0] <= self.context_loss_from[1]:
            raise ConfigError(
                f"context_loss must not be negative and context_loss_from must ascend, got {self.context_loss} and "
                f"{self.context_loss_from}"
            )
        if self.rotary_span is not None and (self.rotary_span <= 0 or self.positions == "sincos"):
            raise ConfigError(
                f"rotary_span must be positive and needs rotary positions, got {self.rotary_span} with {self.positions}"
            )
        check_regularizer(self.regularizer, self.target)

    @property
    def default_shape(self) -> tuple[int, int, int, int]:
        """Shape (C, T, H, W) to fit to when there is no data: the paper's, unless the config says otherwise."""
        return (self.channels or 3, self.frames or 16, *(self.image_size or (224, 224)))

    def fit(self, shape: tuple[int, ...] = (3, 16, 224, 224)) -> VJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, T, H, W) of a clip.

        Raises:
            ConfigError: the samples are not clips, sizes do not divide, or the grid is too small for the masks.
        """
        if len(shape) != 4:
            raise ConfigError(f"V-JEPA needs clips (C, frames, H, W), got samples of shape {tuple(shape)}")
        chosen = {
            k: v
            for k, v in (VIT_SIZES[self.size] | PREDICTOR_SIZES[self.size]).items()
            if getattr(self, k) is None
        }
        side = self.image_size or (shape[2], shape[3])
        # Any: nothing is None from here on
        filled: Any = replace(
            self,
            **chosen,
            frames=self.frames or shape[1],
            image_size=side,
            channels=self.channels or shape[0],
            patch_size=self.patch_size or _patch_for(side),
        )
        values = filled.channels * self.tubelet * filled.patch_size**2
        filled = replace(
            filled,
            predictor_heads=self.predictor_heads or filled.heads,
            patch_std=self.patch_std or 0.02 * math.sqrt(1536 / values),
        )
        check_width(filled.dim, filled.heads, "dim")
        check_width(filled.predictor_width, filled.predictor_heads, "predictor_width")
        layout = patch_layout((filled.frames, *side), (self.tubelet, filled.patch_size, filled.patch_size))
        for masks in filled.kinds:
            masks.check(layout)
        if self.levels:
            blocks = [
                range(filled.depth)[level] for level in self.levels if -filled.depth <= level < filled.depth
            ]
            if (
                blocks != sorted(set(blocks))
                or len(blocks) < len(self.levels)
                or blocks[-1] != filled.depth - 1
            ):
                raise ConfigError(
                    f"levels must ascend within 0..{filled.depth - 1} and end with the last block, got {self.levels}"
                )
            filled = replace(filled, levels=tuple(blocks))
        return filled

    @property
    def kinds(self) -> tuple[TubeMaskConfig, ...]:
        """The kinds of mask every clip gets."""
        both = {"short": self.short_range, "long": self.long_range}
        return tuple(both.values()) if self.ranges == "both" else (both[self.ranges],)

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        c: Any = self
        (height, width), p = c.image_size, c.patch_size
        return (
            f"size={c.size}: encoder {c.dim} wide, {c.depth} blocks, {c.heads} heads; predictor {c.predictor_width} wide, "
            f"{c.predictor_depth} blocks; clips of {c.frames} frames of {height}x{width}, tokens of {c.tubelet}x{p}x{p}: "
            f"{c.frames // c.tubelet}x{height // p}x{width // p} tokens"
        )


def _patch_for(side: tuple[int, int]) -> int:
    """The largest usual patch that leaves at least 7 tokens along the shorter side."""
    for patch in (16, 14, 12, 8, 7, 6, 5, 4, 3, 2, 1):
        if side[0] % patch == 0 and side[1] % patch == 0 and min(side) // patch >= 7:
            return patch
    raise ConfigError(
        f"frames of {side[0]}x{side[1]} are too small: at least 7x7 pixels; set image_size to enlarge them"
    )


@register(
    "vjepa",
    config=VJEPAConfig,
    summary="predicts the features of hidden tubes of a video clip; no augmentation beyond the crop",
    modality="video",
    citation="Bardes et al., Revisiting Feature Prediction for Learning Visual Representations from Video, arXiv 2404.08471",
    licence="official weights: V-JEPA CC BY-NC 4.0, V-JEPA 2 MIT (not shipped)",
)
class VJEPA(Predictive):
    """V-JEPA as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`VJEPAConfig.fit`.
    """

    def __init__(self, config: VJEPAConfig | None = None) -> None:
        super().__init__(config or VJEPAConfig())

    def build(self, c: Any) -> None:
        """Encoder, predictor and their first weights."""
        tokenizer = PatchTokenizer(
            (c.frames, *c.image_size), (c.tubelet, c.patch_size, c.patch_size), c.channels, c.dim
        )
        self.context_encoder = LevelEncoder(
            tokenizer,
            dim=c.dim,
            depth=c.depth,
            heads=c.heads,
            mlp_ratio=c.mlp_ratio,
            positions=c.positions,
            levels=c.levels,
            span=c.rotary_span,
        )
        self.predictor = Predictor(
            tokenizer.layout,
            dim=c.dim,
            width=c.predictor_width,
            depth=c.predictor_depth,
            heads=c.predictor_heads,
            positions=c.positions,
            mask_tokens=len(c.kinds) if c.mask_tokens == "kind" else 1,
            levels=max(1, len(c.levels)),
            sees=c.context_loss > 0,
        )
        initialise(self, depth_rescale=c.depth_rescale)
        tokenizer.initialise(c.patch_std)
        nn.init.zeros_(self.predictor.mask_token)

    @property
    def layout(self) -> Layout:
        """How the tokens lie: times, rows, columns."""
        return self.context_encoder.tokenizer.layout

    def draw_masks(self, batch: Batch) -> list[Masks]:
        """The masks of a batch of every kind, on the CPU."""
        peers = None if batch.peers is None else batch.peers.numpy()
        where: dict[str, Any] = dict(seed=batch.seed, step=batch.step, index=batch.index.numpy(), peers=peers)
        return [tube_masks(c, self.layout, kind=i, **where) for i, c in enumerate(self.config.kinds)]

    def forward(self, batch: Batch | Tensor, masks: list[Masks] | None = None) -> Output:
        """Loss and intermediates.

        In the output ``predicted`` and ``target`` hold the target tokens of all kinds of mask one after the other, as ``masks``
        does; ``context`` is that of the first kind.

        Args:
            batch: clips; a bare tensor (B, C, T, H, W) is a batch of samples 0..B-1 at the current step.
            masks: masks to use instead of drawn ones, one for each kind.
        """
        batch = self.as_batch(batch)
        device = batch.inputs.device
        masks = masks or self.draw_masks(batch)
        weight = self.context_weight(batch.step)
        # With the context loss the target encoder answers for what is seen as well.
        asked = [
            torch.cat((m.targets, m.context.unsqueeze(1)), dim=2) if weight else m.targets for m in masks
        ]
        wanted, where = wanted_tokens(torch.cat(asked, dim=2), self.layout.tokens)
        wanted, where, masks = wanted.to(device), where.to(device), [m.to(device) for m in masks]

        patches = self.context_encoder.tokenizer.cut(batch.inputs)
        targets: Any = self.target_encoder
        with self.making_targets():
            answers = gather_targets(self.normalise(targets.read(patches, outputs=wanted)), where)
        kinds = [
            self._one_kind(i, m, patches, answer, weight, batch)
            for i, (m, answer) in enumerate(
                zip(masks, answers.split([t.shape[2] for t in asked], dim=2), strict=True)
            )
        ]
        return Output(
            torch.stack([each.loss for each in kinds]).mean(),
            {name: torch.stack([each.losses[name] for each in kinds]).mean() for name in kinds[0].losses},
            kinds[0].context,
            torch.cat([each.predicted for each in kinds], dim=2),
            torch.cat([each.target for each in kinds], dim=2),
            Masks(masks[0].context, torch.cat([m.targets for m in masks], dim=2)),
        )

    def _one_kind(
        self, kind: int, masks: Masks, patches: Tensor, answer: Tensor, weight: float, batch: Batch
    ) -> Any:
        """The output for one kind of mask; ``answer`` are its targets, and behind them what is seen where that has a weight."""
        c, hidden = self.config, masks.targets.shape[2]
        target, token = answer[:, :, :hidden], kind if c.mask_tokens == "kind" else 0
        context = self.context_encoder.read(patches, masks.context)
        if weight:
            predicted, seen = self.predictor.both(context, masks.context, masks.targets, kind=token)
        else:
            predicted = self.predictor(context, masks.context, masks.targets, kind=token)
        loss, losses = prediction_loss(
            distance(c.distance),
            c.regularizer,
            predicted=predicted,
            target=target,
            context=context,
            seed=batch.seed,
            step=batch.step,
        )
        if weight:
            extra = context_loss(seen, answer[:, 0, hidden:], nearest_target(masks, self.layout))
            loss, losses = loss + weight * extra, losses | {"context": extra.detach()}
        return Output(loss, losses, context, predicted, target.detach(), masks)

    def context_weight(self, step: int) -> float:
        """Weight of the loss at context tokens in step ``step`` = 0, 1, ..."""
        c = self.config
        first, full = (round(share * c.optim.steps) for share in c.context_loss_from)
        grown = 1.0 if step >= full else max(0.0, (step - first) / (full - first))
        return float(c.context_loss * grown)

    def normalise(self, target: Float[Tensor, "B U E"]) -> Float[Tensor, "B U E"]:
        """Targets with a layer norm without affine for each level."""
        c = self.config
        if not c.target_norm:
            return target
        return F.layer_norm(target.float().unflatten(2, (-1, c.dim)), (c.dim,)).flatten(2)

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of whole clips by the ``"target"`` (default) or the ``"context"`` encoder.

        Args:
            x: clips (B, C, T, H, W); several clips of each video (B, S, C, T, H, W), or several views of these (B, V, S, C, T, H,
                W), whose tokens follow each other; or images (B, C, H, W), which stand still for a whole clip.
            encoder, layer: which encoder, and which of its blocks.
        """
        module = self.encoder_module(encoder)
        if x.ndim == 4:
            x = x.unsqueeze(2).expand(-1, -1, self.config.frames, -1, -1)
        before = x.shape[: x.ndim - 4]
        clips = before[1:].numel()
        x = x.flatten(0, x.ndim - 5)
        self.check(x)
        tokens = module(self.context_encoder.tokenizer.cut(x), layer=layer)
        tokens = tokens.unflatten(0, (-1, clips)).flatten(1, 2)
        times, *grid = self.layout.grid
        return Representation(tokens, tokens.mean(dim=1), encoder, layer, Layout((clips * times, *grid)))

    def input_shape(self) -> tuple[int, ...]:
        """(C, T, H, W)."""
        c = self.config
        return (c.channels, c.frames, *c.image_size)

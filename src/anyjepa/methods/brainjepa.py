"""Brain-JEPA: predict the representations of hidden regions and times of a brain scan (resting-state fMRI) from the rest of it.

Dong, Li, Wu, Nguyen, Chong, Ji, Tong, Chen, Zhou: Brain-JEPA: Brain Dynamics Foundation Model with Gradient Positioning and
Spatiotemporal Masking, NeurIPS 2024, arXiv 2409.19407.

    loss = smooth_l1( predictor(context_encoder(x[context]), P[target]),  layer_norm(target_encoder(x))[target] )

It is I-JEPA on a grid of regions (ROIs) and times, with two parts of its own. P, the positions: half of the channels are the
time, half a trained projection of the coordinates of the region on the gradients of functional connectivity. The masks: what is
hidden lies in other regions (Cross-ROI), at other times (Cross-Time), or both (Double-Cross). Where paper and official code
differ, the code is followed; where the code slips, it is repaired and a field brings the slip back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from anyjepa.contract import Batch, Masks, Representation
from anyjepa.errors import ConfigError, nearest
from anyjepa.masking.multiblock import MultiBlockConfig, multiblock
from anyjepa.masking.random import RandomMaskConfig, random_masks
from anyjepa.masking.roi_time import RoiTimeConfig, regions, roi_time_masks
from anyjepa.methods.ijepa import IJEPA
from anyjepa.nn.predictor import Predictor
from anyjepa.nn.roi_time import RoiTimePositions
from anyjepa.nn.transformer import Encoder
from anyjepa.nn.vit import check_width
from anyjepa.objectives.distances import distance
from anyjepa.objectives.prediction import check_regularizer
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig
from anyjepa.tokenizers.patches import PatchTokenizer, patch_layout

SIZES: dict[str, dict[str, Any]] = {
    # nano is ours; the others are ViT-S, ViT-B and ViT-L of the official code.
    "nano": dict(dim=64, depth=4, heads=4, predictor_width=32, predictor_depth=2),
    "small": dict(dim=384, depth=12, heads=6, predictor_width=192, predictor_depth=6),
    "base": dict(dim=768, depth=12, heads=12, predictor_width=384, predictor_depth=6),
    "large": dict(dim=1024, depth=24, heads=16, predictor_width=384, predictor_depth=12),
}


@dataclass(frozen=True)
class BrainJEPAConfig:
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    size: str = "small"
    """One dial for all parts: nano (ours, for 100 regions on a CPU), small, base, large (official code; paper: base)."""
    rois: int | None = None
    """Regions of a scan; None: from the data (450 in the paper: 50 of Tian's S3 atlas, then 400 of Schaefer's)."""
    frames: int | None = None
    """Frames of a clip; None: from the data (160 at about 2 s in the paper)."""
    patch_size: int = 16
    """Frames of a token (16 in the paper)."""
    dim: int | None = None
    """Width of the encoder."""
    depth: int | None = None
    """Blocks of the encoder."""
    heads: int | None = None
    """Attention heads of the encoder."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLPs of the encoder over the width (4 in the paper)."""
    gradients: tuple[tuple[float, ...], ...] | None = None
    """Coordinates of the regions, a row of m numbers each, in the order of the data (30 in the paper; 3 are worse, table 7), as
    :func:`anyjepa.data.gradients.diffusion_gradients` makes them. They stand here so that a checkpoint is complete."""
    positions: Literal["gradient", "index"] | None = None
    """What places a region: its gradients, or the sin-cos of its number (the ablation 'origin'); None: gradients where they are
    given."""
    drop_path: float = 0.0
    """Stochastic depth of the context encoder, never of the targets (0: the 0.1 of the official settings never reaches the
    model)."""
    init: Literal["normal", "xavier"] = "normal"
    """First weights of linear layers: truncated normal of 0.02 (code) or Xavier uniform (text)."""
    depth_rescale: bool = False
    """Divide output projections by sqrt(2 l) at the start. The official constructors do, a second pass undoes it."""
    patch_std: float | None = None
    """Standard deviation of the first patch projection. None: 0.02 * sqrt(768 / patch_size), which gives tokens the size they
    have in I-JEPA. With the official 0.02 a patch of 16 values drowns in the positions, which reach from -1 to 1."""
    predictor_width: int | None = None
    """Width of the predictor."""
    predictor_depth: int | None = None
    """Blocks of the predictor."""
    predictor_heads: int | None = None
    """Attention heads of the predictor; None: those of the encoder, as in the official code."""
    masker: Literal["roi-time", "multiblock", "random"] = "roi-time"
    """Mask sampler; multiblock is I-JEPA's, the ablation of figure 5, which learns two to six times more slowly."""
    masks: RoiTimeConfig = field(default_factory=RoiTimeConfig)
    """Sizes of the ROI-time masks."""
    multiblock: MultiBlockConfig = field(default_factory=MultiBlockConfig)
    """Block sizes of the multi-block masks."""
    random: RandomMaskConfig = field(default_factory=RandomMaskConfig)
    """Hidden share of the random masks."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.996, 1.0)
    """Momentum of the moving average, linear from the first to the last step."""
    ema_stretch: float = 1.0
    """Lay the momentum out over so many times the training. The official code counts its 8 accumulated micro-batches as steps of
    that schedule: 8 reproduces it, and the momentum ends at 0.9965."""
    target_norm: bool = True
    """Layer norm without affine on the targets (eps 1e-5; in the code, not in the text)."""
    distance: Literal["smooth_l1", "l1", "l2", "cosine"] = "smooth_l1"
    """Distance to the targets (code: smooth L1; text: squared L2)."""
    weighting: Literal["token", "region"] = "token"
    """What weighs the same in the loss: every token (code; Cross-ROI then dominates), or each of the three kinds of target (text,
    equation 3)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the paper)."""
    seed: int = 0
    """Seed of the initial weights, and of the masks of a bare tensor."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(start_lr=5e-5))
    """Training length, AdamW and its schedules: 5e-5 to 1e-3 over 40 of 300 epochs, 512 scans a step."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"unknown size '{self.size}': {nearest(self.size, SIZES)}")
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        if self.ema_stretch < 1.0:
            raise ConfigError(f"ema_stretch must be at least 1, got {self.ema_stretch}")
        check_regularizer(self.regularizer, self.target)
        if self.positions == "gradient" and not self.gradients:
            raise ConfigError(
                "positions=gradient needs model.gradients: compute them with anyjepa.data.gradients, or use positions=index"
            )
        self._check_gradients()

    def _check_gradients(self) -> None:
        if self.gradients is None:
            return
        widths = {len(row) for row in self.gradients}
        if len(widths) != 1 or widths == {0}:
            raise ConfigError(f"gradients must be rows of equal length, got lengths {sorted(widths)}")
        if not all(math.isfinite(value) for row in self.gradients for value in row):
            raise ConfigError("gradients hold values that are not finite")

    @property
    def default_shape(self) -> tuple[int, int, int]:
        """Shape (1, R, T) to fit to when there is no data: the paper's, unless the config says otherwise."""
        return (1, self.rois or len(self.gradients or ()) or 450, self.frames or 160)

    def fit(self, shape: tuple[int, ...] = (1, 450, 160)) -> BrainJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (1, R, T) of a clip.

        Raises:
            ConfigError: the samples are not clips, sizes do not divide, the gradients are of other regions, or the grid is too
                small for the masks.
        """
        if len(shape) != 3 or shape[0] != 1:
            raise ConfigError(
                f"Brain-JEPA needs clips (1, regions, frames), got samples of shape {tuple(shape)}"
            )
        chosen = {k: v for k, v in SIZES[self.size].items() if getattr(self, k) is None}
        # Any: nothing is None from here on
        filled: Any = replace(
            self,
            **chosen,
            rois=self.rois or shape[1],
            frames=self.frames or shape[2],
            positions=self.positions or ("gradient" if self.gradients else "index"),
            patch_std=self.patch_std or 0.02 * math.sqrt(768 / self.patch_size),
        )
        filled = replace(filled, predictor_heads=self.predictor_heads or filled.heads)
        check_width(filled.dim, filled.heads, "dim")
        check_width(filled.predictor_width, filled.predictor_heads, "predictor_width")
        if filled.positions == "gradient" and len(self.gradients or ()) != filled.rois:
            raise ConfigError(
                f"the gradients are those of {len(self.gradients or ())} regions, the scans have {filled.rois}: compute them "
                "from the connectivity of these scans"
            )
        layout = patch_layout((filled.rois, filled.frames), (1, filled.patch_size))
        if self.masker == "multiblock":
            return replace(filled, multiblock=self.multiblock.fit(layout))
        return replace(filled, masks=self.masks.fit(layout)) if self.masker == "roi-time" else filled

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        times = (self.frames or 0) // self.patch_size
        placed = (
            f"regions placed by {len(self.gradients[0])} gradients"
            if self.positions == "gradient" and self.gradients
            else "regions placed by their number: no gradients"
        )
        return (
            f"size={self.size}: encoder {self.dim} wide, {self.depth} blocks, {self.heads} heads; predictor "
            f"{self.predictor_width} wide, {self.predictor_depth} blocks; clips of {self.frames} frames of {self.rois} regions, "
            f"patch {self.patch_size}: {self.rois}x{times} tokens; {placed}"
        )


@register(
    "brainjepa",
    config=BrainJEPAConfig,
    summary="predicts the features of hidden brain regions and times; regions are placed by gradients of connectivity",
    modality="fmri",
    citation="Dong et al., Brain-JEPA: Brain Dynamics Foundation Model, NeurIPS 2024, arXiv 2409.19407",
    licence="official weights, code and gradients: no licence, all rights reserved (not shipped, not read)",
)
class BrainJEPA(IJEPA):
    """Brain-JEPA as a module: I-JEPA with the positions, masks and weights of the file header.

    Args:
        config: what is None in it is filled in by :meth:`BrainJEPAConfig.fit`.
    """

    config: BrainJEPAConfig

    def __init__(self, config: BrainJEPAConfig | None = None) -> None:
        super().__init__(config or BrainJEPAConfig())

    def parts(self, c: Any) -> tuple[Encoder, Predictor]:
        """Encoder and predictor, each with a projection of the gradients of its own."""
        tokenizer = PatchTokenizer((c.rois, c.frames), (1, c.patch_size), 1, c.dim)
        rois, times = tokenizer.layout.grid
        table = torch.tensor(c.gradients, dtype=torch.float32) if c.positions == "gradient" else None
        encoder = Encoder(
            tokenizer,
            dim=c.dim,
            depth=c.depth,
            heads=c.heads,
            mlp_ratio=c.mlp_ratio,
            positions=RoiTimePositions(table, rois, times, c.dim),
            drop_path=c.drop_path,
        )
        predictor = Predictor(
            tokenizer.layout,
            dim=c.dim,
            width=c.predictor_width,
            depth=c.predictor_depth,
            heads=c.predictor_heads,
            positions=RoiTimePositions(table, rois, times, c.predictor_width),
        )
        return encoder, predictor

    def initialise(self, c: Any) -> None:
        """Draw the first weights, before the target encoder is copied."""
        super().initialise(c)
        if c.init == "xavier":
            for part in self.modules():
                if isinstance(part, nn.Linear):
                    nn.init.xavier_uniform_(part.weight)

    def draw_masks(self, batch: Batch) -> Masks:
        """The masks of a batch, on the CPU."""
        c, index = self.config, batch.index.numpy()
        if c.masker == "random":
            return random_masks(c.random, self.layout, seed=batch.seed, step=batch.step, index=index)
        peers = None if batch.peers is None else batch.peers.numpy()
        rest: dict[str, Any] = dict(seed=batch.seed, step=batch.step, index=index, peers=peers)
        if c.masker == "multiblock":
            return multiblock(c.multiblock, self.layout, **rest)
        return roi_time_masks(c.masks, self.layout, **rest)

    def compare(
        self, predicted: Float[Tensor, "B M P D"], target: Float[Tensor, "B M P D"], masks: Masks
    ) -> Float[Tensor, ""]:
        """Distance of predictions and targets: the mean over tokens, or over the kinds of target of the mean of each."""
        measure = distance(self.config.distance)
        if self.config.weighting == "token":
            return measure(predicted, target)
        kind = regions(masks, self.layout)
        chosen = [kind == k for k in kind.unique()]
        return torch.stack([measure(predicted[rows], target[rows]) for rows in chosen]).mean()

    def momentum(self, step: int) -> float:
        """Momentum of the update after step ``step`` = 0, 1, ...: linear over ``ema_stretch`` times the training."""
        (start, end), horizon = self.config.ema, self.config.optim.horizon
        return start + (end - start) * min(1.0, step / (horizon * self.config.ema_stretch))

    def encode(
        self,
        x: Tensor,
        *,
        encoder: str = "target",
        layer: int = -1,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Representation:
        """Representation of whole clips (B, 1, R, T) by the ``"target"`` (default) or the ``"context"`` encoder.

        Args:
            x: clips.
            encoder, layer: which encoder, and which of its blocks.
            valid: False where a frame is padding: nobody attends to a patch with such a frame, and it is not in the mean.
        """
        if valid is None:
            return super().encode(x, encoder=encoder, layer=layer)
        module = self.encoder_module(encoder)
        if valid.shape != (len(x), x.shape[-1]):
            raise ConfigError(f"valid must be (B, T) = {(len(x), x.shape[-1])}, got {tuple(valid.shape)}")
        patches = valid.unflatten(1, (-1, self.config.patch_size)).all(2)
        if not patches.any(1).all():
            raise ConfigError(
                f"a clip without {self.config.patch_size} valid frames in a patch has no representation"
            )
        tokens_valid = patches.repeat(1, self.layout.grid[0])
        tokens = module(self.context_encoder.tokenizer.cut(x), valid=tokens_valid, layer=layer)
        weight = tokens_valid.unsqueeze(-1).to(tokens.dtype)
        pooled = (tokens * weight).sum(1) / weight.sum(1)
        return Representation(tokens, pooled, encoder, layer, self.layout)

    def input_shape(self) -> tuple[int, ...]:
        """(1, R, T)."""
        return (1, self.config.rois or 0, self.config.frames or 0)

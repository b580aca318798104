"""SAR-JEPA: predict gradients by ratio of hidden patches of radar images from the rest of small windows.

Li, Yang, Liu, Hou, Li, Liu, Liu, Liu: Predicting Gradient is Better: Exploring Self-Supervised Learning for SAR ATR with a
Joint-Embedding Predictive Architecture, ISPRS Journal 218 (2024), arXiv 2311.15153.

    loss = mean over hidden tokens of ( predictor(encoder(window with mask tokens)) - G(x) )^2

where G is a fixed, speckle-robust map (:mod:`anyjepa.objectives.gradient_ratio`) in place of a target encoder: nothing can
collapse. Positions are relative ones within attention, so the encoder of 7 x 7 windows reads images of any size. Where paper and
official code differ, the code is followed; the slip in how windows meet images is repaired, ``windows.compat=official`` brings
it back. With ``target=ema`` and others the windows predict the output of a target encoder on the whole image, as I-JEPA does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.contract import Batch, Layout, Masks, Output, Representation
from anyjepa.errors import ConfigError
from anyjepa.masking.wanted import gather_targets, wanted_tokens
from anyjepa.masking.windows import WindowConfig, Windows, draw_windows
from anyjepa.methods.predictive import Predictive
from anyjepa.nn.attention import take
from anyjepa.nn.relative import RelativeEncoder, RelativePredictor
from anyjepa.nn.vit import ViTShape, check_width, fit_shape
from anyjepa.objectives.distances import distance
from anyjepa.objectives.features import FeatureConfig, feature_tokens
from anyjepa.objectives.prediction import check_regularizer, prediction_loss
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig
from anyjepa.tokenizers.patches import PatchTokenizer, cut_patches, patch_layout

PUBLISHED = dict(predictor_width=512, predictor_depth=8, predictor_heads=16)
NANO = dict(predictor_width=64, predictor_depth=2, predictor_heads=4)


@dataclass(frozen=True)
class SARJEPAConfig(ViTShape):
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    predictor_width: int | None = None
    """Width of the predictor (code: 512 for every encoder)."""
    predictor_depth: int | None = None
    """Blocks of the predictor (8 in the code, better than LoMaR's linear layer, which is 0)."""
    predictor_heads: int | None = None
    """Attention heads of the predictor (code: 16)."""
    relative_scaled: bool = False
    """Divide the positions' part of the logits by sqrt(d) as well: iRPE does, LoMaR's and SAR-JEPA's code does not."""
    windows: WindowConfig = field(default_factory=WindowConfig)
    """Windows and what is hidden in them."""
    target: Literal["features", "ema", "stopgrad", "frozen", "online"] = "features"
    """What is predicted: fixed features (paper), or the output of a target encoder on whole images by one of the target rules."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    """Which fixed features."""
    ema: tuple[float, float] = (0.996, 1.0)
    """Momentum of the moving average with target=ema, linear from the first to the last step (I-JEPA)."""
    target_norm: bool = True
    """Layer norm on the outputs of a target encoder (I-JEPA). Not on features, which have no normalisation of any kind."""
    distance: Literal["l2", "smooth_l1", "l1", "cosine"] = "l2"
    """Distance to the targets."""
    readout: Literal["cls", "mean"] = "cls"
    """What stands for a whole image: the class token (paper), or the mean over the other tokens."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the paper)."""
    seed: int = 0
    """Seed of the initial weights, and of the windows of a bare tensor."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            start_lr=0.0,
            lr=1.171875e-3,
            final_lr=0.0,
            weight_decay=0.05,
            final_weight_decay=0.05,
            betas=(0.9, 0.95),
        )
    )
    """Training length, AdamW and its schedules (code): lr is 1e-3 batch / 256 at batch 300, warm-up 20/300 of the training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        check_regularizer(self.regularizer, self.target)

    @property
    def default_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) to fit to when there is no data: the paper's, unless the config says otherwise."""
        height, width = self.image_size or (224, 224)
        return (self.channels or 1, height, width)

    def fit(self, shape: tuple[int, ...] = (1, 224, 224)) -> SARJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, H, W) of a typical sample.

        Raises:
            ConfigError: sizes do not divide, or windows do not fit into the image.
        """
        usual: dict[str, Any] = NANO if self.size == "nano" else PUBLISHED
        chosen = {name: value for name, value in usual.items() if getattr(self, name) is None}
        # Any: nothing is None from here on
        filled: Any = replace(self, **fit_shape(self, shape, "SAR-JEPA"), **chosen)
        check_width(filled.predictor_width, filled.predictor_heads, "predictor_width")
        channels, size = filled.channels, filled.image_size
        features, optim = self.features, self.optim
        if self.target == "features":
            features = features.fit((channels, *size))
            features = replace(
                features, mean=features.mean or (0.0,) * channels, std=features.std or (1.0,) * channels
            )
        if optim.warmup_steps is None:
            optim = replace(optim, warmup_steps=round(optim.steps * 20 / 300))
        windows = self.windows.fit(patch_layout(size, (filled.patch_size,) * 2))
        return replace(filled, windows=windows, features=features, optim=optim)

    def normalised(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> SARJEPAConfig:
        """The same config for images from which ``mean`` was taken off and that were divided by ``std``."""
        return replace(self, features=self.features.normalised(mean, std))

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        w, f = self.windows, self.features
        told = f"the output of a target encoder ({self.target})"
        if self.target == "features":
            told = f.kind + (f", radii {', '.join(map(str, f.radii or ()))}" if f.scaled else "")
        return (
            f"size={self.size}: encoder {self.dim} wide, {self.depth} blocks, {self.heads} heads; predictor "
            f"{self.predictor_width} wide, {self.predictor_depth} blocks; {self.images}; {w.count} windows of {w.side}x{w.side}, "
            f"{w.hidden} of {w.tokens} tokens hidden; predicts {told}"
        )


@register(
    "sar-jepa",
    config=SARJEPAConfig,
    summary="predicts gradients by ratio of hidden patches of radar images, from small windows; cannot collapse",
    modality="radar",
    citation="Li et al., Predicting Gradient is Better, ISPRS Journal 218 (2024), arXiv 2311.15153",
    licence="official weights: CC BY-NC 4.0 (not shipped)",
)
class SARJEPA(Predictive):
    """SAR-JEPA as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`SARJEPAConfig.fit`.
    """

    def __init__(self, config: SARJEPAConfig | None = None) -> None:
        super().__init__(config or SARJEPAConfig())

    def build(self, c: Any) -> None:
        """Encoder, predictor and their first weights."""
        patch = (c.patch_size, c.patch_size)
        tokenizer = PatchTokenizer(c.image_size, patch, c.channels, c.dim)
        scaled = c.relative_scaled
        self.context_encoder = RelativeEncoder(
            tokenizer, dim=c.dim, depth=c.depth, heads=c.heads, mlp_ratio=c.mlp_ratio, scaled=scaled
        )
        self.predictor = RelativePredictor(
            c.dim,
            width=c.predictor_width,
            depth=c.predictor_depth,
            heads=c.predictor_heads,
            out=c.features.width(c.channels, patch) if c.target == "features" else c.dim,
            scaled=scaled,
        )
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)

    @property
    def layout(self) -> Layout:
        """How the tokens lie."""
        return self.context_encoder.tokenizer.layout

    def draw_windows(self, batch: Batch) -> Windows:
        """The windows of a batch, on the CPU."""
        where: dict[str, Any] = dict(seed=batch.seed, step=batch.step, index=batch.index.numpy())
        return draw_windows(self.config.windows, self.layout, **where)

    def forward(self, batch: Batch | Tensor, windows: Windows | None = None) -> Output:
        """Loss and intermediates; the context of the output are the tokens seen in all windows.

        Args:
            batch: images in 0..1; a bare tensor (B, C, H, W) is a batch of samples 0..B-1 at the current step.
            windows: windows to use instead of drawn ones.
        """
        batch = self.as_batch(batch)
        windows = (windows or self.draw_windows(batch)).to(batch.inputs.device)
        masks, (b, m) = windows.masks, windows.tokens.shape[:2]
        side = self.config.windows.side
        patches = self.context_encoder.tokenizer.cut(batch.inputs)
        with self.making_targets():
            target = self.make_targets(batch.inputs, patches, masks)

        inside = take(patches, windows.tokens.flatten(1)).unflatten(1, (m, -1)).flatten(0, 1)
        seen, hidden = windows.seen.flatten(0, 1), windows.hidden.flatten(0, 1)
        tokens = self.context_encoder(inside, seen, grid=(side, side))
        predicted = self.predictor(tokens, hidden, grid=(side, side)).unflatten(0, (b, m))
        context = take(tokens, seen + 1).unflatten(0, (b, m)).flatten(1, 2)

        loss, losses = prediction_loss(
            self.compare,
            self.config.regularizer,
            predicted=predicted,
            target=target,
            context=context,
            seed=batch.seed,
            step=batch.step,
        )
        return Output(loss, losses, context, predicted, target.detach(), masks)

    def make_targets(self, x: Tensor, patches: Tensor, masks: Masks) -> Tensor:
        """What is to be predicted, (B, M, P, E): features of the whole image, or what the target encoder says of it."""
        c = self.config
        if c.target == "features":
            return gather_targets(
                feature_tokens(c.features, x, self.context_encoder.tokenizer.patch), masks.targets
            )
        wanted, where = wanted_tokens(masks.targets, self.layout.tokens)
        encoder: Any = self.target_encoder
        target = take(encoder(patches, grid=self.layout.grid)[:, 1:], wanted)
        if c.target_norm:
            target = F.layer_norm(target.float(), target.shape[-1:])
        return gather_targets(target, where)

    def compare(
        self, predicted: Float[Tensor, "B M P E"], target: Float[Tensor, "B M P E"]
    ) -> Float[Tensor, ""]:
        """Mean distance over all hidden tokens."""
        return distance(self.config.distance)(predicted, target)

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of whole images (B, C, H, W), of any size that the patches divide.

        With target=features there is no target encoder: the context encoder answers, and the representation says so.

        Raises:
            ConfigError: the images have other channels, or the patches do not divide them.
        """
        module: Any = self.encoder_module(encoder)
        if x.ndim != 4 or x.shape[1] != self.config.channels:
            raise ConfigError(f"expected input (B, {self.config.channels}, H, W), got {tuple(x.shape)}")
        patch = self.context_encoder.tokenizer.patch
        layout = patch_layout(x.shape[2:], patch)
        tokens = module(cut_patches(x, patch), grid=layout.grid, layer=layer)
        rest = tokens[:, 1:]
        pooled = tokens[:, 0] if self.config.readout == "cls" else rest.mean(dim=1)
        return Representation(rest, pooled, self.target.read_as(encoder), layer, layout)

    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return (self.config.channels, *self.config.image_size)

"""I-JEPA: predict the representations of hidden blocks of an image from the rest of it.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun, Ballas: Self-Supervised Learning from Images with a Joint-Embedding
Predictive Architecture, CVPR 2023, arXiv 2301.08243.

    loss = smooth_l1( predictor(context_encoder(x[context]), positions[target]),  layer_norm(target_encoder(x))[target] )

where the target encoder is a moving average of the context encoder. Where paper and official code differ, the code is followed
(smooth-L1 instead of squared L2, layer-normalised targets, cosine weight decay); where the official code slips, it is repaired
and ``masks.compat=official`` brings the slip back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyjepa.contract import Batch, Layout, Masks, Output, Representation
from anyjepa.errors import ConfigError
from anyjepa.masking.multiblock import MultiBlockConfig, multiblock
from anyjepa.masking.random import RandomMaskConfig, random_masks
from anyjepa.masking.wanted import gather_targets, wanted_tokens
from anyjepa.methods.predictive import Predictive
from anyjepa.nn.predictor import Predictor
from anyjepa.nn.transformer import Encoder, initialise
from anyjepa.nn.vit import ViTConfig, build_vit, check_width, fit_vit
from anyjepa.objectives.distances import distance
from anyjepa.objectives.features import FeatureConfig, feature_tokens
from anyjepa.objectives.prediction import check_regularizer, prediction_loss
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig
from anyjepa.tokenizers.patches import patch_layout

PREDICTOR_SIZES: dict[str, dict[str, Any]] = {
    # All but nano: the official table.
    "nano": dict(predictor_width=64, predictor_depth=3),
    "tiny": dict(predictor_width=384, predictor_depth=6),
    "small": dict(predictor_width=384, predictor_depth=6),
    "base": dict(predictor_width=384, predictor_depth=6),
    "large": dict(predictor_width=384, predictor_depth=12),
    "huge": dict(predictor_width=384, predictor_depth=12),
    "giant": dict(predictor_width=384, predictor_depth=16),
}


@dataclass(frozen=True)
class IJEPAConfig(ViTConfig):
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    predictor_width: int | None = None
    """Width of the predictor (384 in the paper for every encoder; 1024 is worse, table 12)."""
    predictor_depth: int | None = None
    """Blocks of the predictor (6, 12 or 16 in the paper)."""
    predictor_heads: int | None = None
    """Attention heads of the predictor; None: those of the encoder, as in the official code."""
    depth_rescale: bool = False
    """Divide output projections by sqrt(2 l) at the start. The official constructors do, the official factory undoes it."""
    masker: Literal["multiblock", "random"] = "multiblock"
    """Mask sampler; random is the ablation of table 6 (17.6 against 54.2 %)."""
    masks: MultiBlockConfig = field(default_factory=MultiBlockConfig)
    """Block sizes of the multi-block masks."""
    random: RandomMaskConfig = field(default_factory=RandomMaskConfig)
    """Hidden share of the random masks."""
    target: Literal["ema", "stopgrad", "frozen", "online", "features"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer; features are fixed
    ones of the image instead of the output of an encoder)."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    """Which fixed features are predicted, with target=features."""
    ema: tuple[float, float] = (0.996, 1.0)
    """Momentum of the moving average, linear from the first to the last step."""
    target_norm: bool = True
    """Layer norm without affine on the targets (eps 1e-5; in the code, not in the text). Not on features."""
    distance: Literal["smooth_l1", "l1", "l2", "cosine"] = "smooth_l1"
    """Distance to the targets (code: smooth L1; text: squared L2)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions, the latter two over all tokens of all blocks (none in the paper)."""
    seed: int = 0
    """Seed of the initial weights, and of the masks of a bare tensor."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Training length, AdamW and its schedules."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        check_regularizer(self.regularizer, self.target)

    def fit(self, shape: tuple[int, ...] = (3, 224, 224)) -> IJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, H, W) of a typical sample.

        Raises:
            ConfigError: sizes do not divide, or the grid is too small for the masks.
        """
        chosen = {k: v for k, v in PREDICTOR_SIZES[self.size].items() if getattr(self, k) is None}
        # Any: nothing is None from here on
        filled: Any = replace(self, **fit_vit(self, shape, "I-JEPA"), **chosen)
        filled = replace(filled, predictor_heads=self.predictor_heads or filled.heads)
        check_width(filled.predictor_width, filled.predictor_heads, "predictor_width")
        if self.target == "features":
            filled = replace(filled, features=self.features.fit((filled.channels, *filled.image_size)))
        layout = patch_layout(filled.image_size, (filled.patch_size, filled.patch_size))
        return replace(filled, masks=self.masks.fit(layout)) if self.masker == "multiblock" else filled

    def normalised(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> IJEPAConfig:
        """The same config for images from which ``mean`` was taken off and that were divided by ``std``."""
        if self.target != "features":
            return self
        return replace(self, features=self.features.normalised(mean, std))

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        return (
            f"size={self.size}: encoder {self.dim} wide, {self.depth} blocks, {self.heads} heads; predictor "
            f"{self.predictor_width} wide, {self.predictor_depth} blocks; {self.images}"
        )


@register(
    "ijepa",
    config=IJEPAConfig,
    summary="predicts the features of hidden blocks of an image; no augmentation beyond the crop",
    modality="images",
    citation="Assran et al., Self-Supervised Learning from Images with a JEPA, CVPR 2023, arXiv 2301.08243",
    licence="official weights: CC BY-NC 4.0 (not shipped)",
)
class IJEPA(Predictive):
    """I-JEPA as a module. See the file header for the equation.

    Methods that are I-JEPA with other tokens, positions, masks, targets or weights of the loss derive from it and replace
    ``parts``, ``initialise``, ``draw_masks``, ``make_targets``, ``see``, ``tell`` or ``compare``; they bring a config with the
    fields that are read here.

    Args:
        config: what is None in it is filled in by :meth:`IJEPAConfig.fit`.
    """

    def __init__(self, config: Any = None) -> None:
        super().__init__(config or IJEPAConfig())

    def build(self, c: Any) -> None:
        """Encoder, predictor and their first weights."""
        self.context_encoder, self.predictor = self.parts(c)
        self.initialise(c)

    def parts(self, c: Any) -> tuple[Encoder, Predictor]:
        """Encoder and predictor of a fitted config."""
        encoder = build_vit(c)
        predictor = Predictor(
            encoder.tokenizer.layout,
            dim=c.dim,
            width=c.predictor_width,
            depth=c.predictor_depth,
            heads=c.predictor_heads,
            out=c.features.width(c.channels, encoder.tokenizer.patch) if c.target == "features" else None,
        )
        return encoder, predictor

    def initialise(self, c: Any) -> None:
        """Draw the first weights, before the target encoder is copied."""
        initialise(self, depth_rescale=c.depth_rescale)
        self.context_encoder.tokenizer.initialise(c.patch_std)

    @property
    def layout(self) -> Layout:
        """How the tokens lie."""
        return self.context_encoder.tokenizer.layout

    def draw_masks(self, batch: Batch) -> Masks:
        """The masks of a batch, on the CPU."""
        c, index = self.config, batch.index.numpy()
        if c.masker == "random":
            return random_masks(c.random, self.layout, seed=batch.seed, step=batch.step, index=index)
        peers = None if batch.peers is None else batch.peers.numpy()
        return multiblock(c.masks, self.layout, seed=batch.seed, step=batch.step, index=index, peers=peers)

    def forward(self, batch: Batch | Tensor, masks: Masks | None = None) -> Output:
        """Loss and intermediates.

        Args:
            batch: images; a bare tensor (B, C, H, W) is a batch of samples 0..B-1 at the current step.
            masks: masks to use instead of drawn ones.
        """
        batch = self.as_batch(batch)
        masks = masks or self.draw_masks(batch)
        wanted, where = wanted_tokens(masks.targets, self.layout.tokens)
        device = batch.inputs.device
        masks, wanted, where = masks.to(device), wanted.to(device), where.to(device)

        patches = self.context_encoder.tokenizer.cut(batch.inputs)
        with self.making_targets():
            target = self.make_targets(batch.inputs, patches, wanted, where)
        context = self.see(patches, masks)
        told = self.tell(context, masks)
        predicted = self.predictor(told, masks.context, masks.targets, valid=masks.context_valid)

        loss, losses = prediction_loss(
            partial(self.compare, masks=masks),
            self.config.regularizer,
            predicted=predicted,
            target=target,
            context=context,
            valid=masks.context_valid,
            seed=batch.seed,
            step=batch.step,
        )
        return Output(loss, losses, context, predicted, target.detach(), masks)

    def make_targets(self, x: Tensor, patches: Tensor, wanted: Tensor, where: Tensor) -> Tensor:
        """What is to be predicted, (B, M, P, D).

        Args:
            x: inputs of the batch, as they came.
            patches: the same, cut by the tokenizer.
            wanted: tokens of each sample that are asked for at all, (B, W), see :func:`wanted_tokens`.
            where: where each target token stands among them, (B, M, P).
        """
        if self.config.target == "features":
            tokens = feature_tokens(self.config.features, x, self.context_encoder.tokenizer.patch)
            return gather_targets(tokens, wanted.gather(1, where.flatten(1)).view_as(where))
        target = self.target_encoder(patches, outputs=wanted)
        if self.config.target_norm:
            target = F.layer_norm(target.float(), target.shape[-1:])
        return gather_targets(target, where)

    def see(self, patches: Tensor, masks: Masks) -> Tensor:
        """Representations of the context tokens, (B, K, D)."""
        return self.context_encoder(patches, masks.context, valid=masks.context_valid)

    def tell(self, context: Tensor, masks: Masks) -> Tensor:
        """What the predictor is told of the context tokens, (B, K, D): their representations."""
        return context

    def compare(
        self, predicted: Float[Tensor, "B M P D"], target: Float[Tensor, "B M P D"], masks: Masks
    ) -> Float[Tensor, ""]:
        """Distance of predictions and targets: the mean over every element, as in the code."""
        return distance(self.config.distance)(predicted, target)

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of whole images (B, C, H, W) by the ``"target"`` (default) or the ``"context"`` encoder.

        With target=features there is no target encoder: the context encoder answers, and the representation says so.
        """
        module = self.encoder_module(encoder)
        tokens = module(self.context_encoder.tokenizer.cut(x), layer=layer)
        return Representation(tokens, tokens.mean(dim=1), self.target.read_as(encoder), layer, self.layout)

    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return (self.config.channels or 0, *(self.config.image_size or ()))

"""ECG-JEPA with cross-pattern attention: hide stretches of time of all leads, predict them lead by lead.

Kim: Learning General Representation of 12-Lead Electrocardiogram with a Joint-Embedding Predictive Architecture,
arXiv 2410.08559.

    loss = smooth_l1( predictor(context_encoder(x[visible]), time[hidden]),  layer_norm(target_encoder(x))[hidden] )

A token is 0.2 s of one of 8 leads. It attends to the tokens of its lead and to those of its time. The target encoder is a moving
average of the context encoder. The text writes an L1 distance; the official code is followed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from anyjepa.contract import Batch, Layout, Masks, Output, Representation
from anyjepa.errors import ConfigError
from anyjepa.masking.columns import ColumnMaskConfig, column_masks
from anyjepa.methods.predictive import Predictive
from anyjepa.nn.cross_pattern import CrossPatternEncoder, LeadPredictor
from anyjepa.nn.recordings import NANO, RecordingConfig, fit_recording
from anyjepa.nn.transformer import initialise
from anyjepa.objectives.distances import distance
from anyjepa.objectives.prediction import check_regularizer, prediction_loss
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig
from anyjepa.tokenizers.patches import PatchTokenizer, patch_layout

SIZES: dict[str, dict[str, Any]] = {
    # nano is ours, base the paper's.
    "nano": NANO,
    "base": dict(dim=768, depth=12, heads=16, predictor_width=384, predictor_depth=6, predictor_heads=12),
}


@dataclass(frozen=True)
class CropaConfig(RecordingConfig):
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    sizes: ClassVar = SIZES
    """What each size stands for."""
    published: ClassVar = (8, 2500)
    """Shape (C, T) of the recordings of the paper."""

    size: str = "base"
    """One dial for all parts: nano (ours) or base (the paper's)."""
    channels: int | None = None
    """Leads; None: from the data (8 in the paper: I, II, V1 to V6; the others follow from I and II)."""
    length: int | None = None
    """Samples per recording; None: from the data (2500 in the paper: 10 s at 250 Hz)."""
    patch_size: int = 50
    """Samples per token (50: 0.2 s at 250 Hz)."""
    drop_path: float = 0.1
    """Stochastic depth of the last block of encoder and predictor; from 0 in the first, linearly."""
    eps: float = 1e-5
    """Epsilon of the layer norms."""
    masks: ColumnMaskConfig = field(default_factory=ColumnMaskConfig)
    """Hidden columns of time."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.996, 1.0)
    """Momentum of the moving average, linear over training."""
    target_norm: bool = True
    """Layer norm without affine on the targets."""
    distance: Literal["smooth_l1", "l1", "l2", "cosine"] = "smooth_l1"
    """Distance to the targets (code: smooth L1; text: L1)."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the paper)."""
    compat: Literal["fixed", "official"] = "fixed"
    """``official``: stochastic depth is at work in the target encoder too, which makes the targets noisy."""
    seed: int = 0
    """Seed of the initial weights, and of the masks of a bare tensor."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            steps=272_000,
            start_lr=1e-6,
            lr=5e-5,
            final_lr=1e-6,
            weight_decay=0.05,
            final_weight_decay=0.05,
            from_zero=True,
        )
    )
    """Training length, AdamW and its schedules: those of the block masks, 100 epochs of 174,130 recordings at 64 a step, 5 of
    them warm-up. (Random masks: rate 2.5e-5 at 128 a step.)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        check_regularizer(self.regularizer, self.target)

    def fit(self, shape: tuple[int, ...] = (8, 2500)) -> CropaConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, T) of a typical recording.

        Raises:
            ConfigError: the samples are not recordings, or sizes do not divide.
        """
        # Any: nothing is None from here on
        filled: Any = replace(self, **fit_recording(self, shape, multiple=4))
        if patch_layout((filled.length,), (filled.patch_size,)).tokens < 2:
            raise ConfigError(
                f"{filled.length} samples are one token: use a patch_size below {filled.length}"
            )
        optim = self.optim
        if optim.warmup_steps is None:
            optim = replace(optim, warmup_steps=optim.steps // 20)
        return replace(filled, optim=optim)


@register(
    "ecg-jepa-cropa",
    config=CropaConfig,
    summary="predicts the features of hidden stretches of each lead of an ECG, with attention along leads and times",
    modality="ecg",
    citation="Kim, Learning General Representation of 12-Lead Electrocardiogram with a JEPA, arXiv 2410.08559",
    licence="official weights: MIT (not shipped)",
)
class Cropa(Predictive):
    """ECG-JEPA with cross-pattern attention as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`CropaConfig.fit`.
    """

    config: CropaConfig

    def __init__(self, config: CropaConfig | None = None) -> None:
        super().__init__(config or CropaConfig())

    def build(self, c: Any) -> None:
        """Encoder, predictor and their first weights."""
        shared: dict[str, Any] = dict(mlp_ratio=c.mlp_ratio, drop_path=c.drop_path, eps=c.eps)
        self.context_encoder = CrossPatternEncoder(
            PatchTokenizer((c.channels, c.length), (1, c.patch_size), 1, c.dim),
            dim=c.dim,
            depth=c.depth,
            heads=c.heads,
            **shared,
        )
        self.predictor = LeadPredictor(
            self.layout,
            dim=c.dim,
            width=c.predictor_width,
            depth=c.predictor_depth,
            heads=c.predictor_heads,
            **shared,
        )
        initialise(self, depth_rescale=True)

    @property
    def layout(self) -> Layout:
        """How the tokens lie: leads and time."""
        return self.context_encoder.tokenizer.layout

    @property
    def targets_drop(self) -> bool:
        """As in the official code, where the config asks for it."""
        return bool(self.config.compat == "official")

    def draw_masks(self, batch: Batch) -> Masks:
        """The masks of a batch, on the CPU."""
        return column_masks(
            self.config.masks, self.layout, seed=batch.seed, step=batch.step, index=batch.index.numpy()
        )

    def forward(self, batch: Batch | Tensor) -> Output:
        """Loss and intermediates. A bare tensor (B, C, T) is a batch of samples 0..B-1 at the current step."""
        batch = self.as_batch(batch)
        masks = self.draw_masks(batch).to(batch.inputs.device)
        patches = self._cut(batch.inputs)
        with self.making_targets():
            target = self.target_encoder(patches, outputs=masks.targets[:, 0])
            if self.config.target_norm:
                target = F.layer_norm(target.float(), target.shape[-1:])
        context = self.context_encoder(patches, masks.context)
        predicted = self.predictor(context, masks.context, masks.targets)
        loss, losses = prediction_loss(
            distance(self.config.distance),
            self.config.regularizer,
            predicted=predicted,
            target=target.unsqueeze(1),
            context=context,
            seed=batch.seed,
            step=batch.step,
        )
        return Output(loss, losses, context, predicted, target.unsqueeze(1).detach(), masks)

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of whole recordings (B, C, T). The paper uses the context encoder afterwards.

        Raises:
            ConfigError: an unknown encoder, or recordings of another shape.
        """
        module = self.encoder_module(encoder)
        tokens = module(self._cut(x), layer=layer)
        return Representation(tokens, tokens.mean(dim=1), encoder, layer, self.layout)

    def _cut(self, x: Tensor) -> Tensor:
        self.check(x)
        return self.context_encoder.tokenizer.cut(x.unsqueeze(1))

    def input_shape(self) -> tuple[int, ...]:
        """(C, T)."""
        return (self.config.channels or 0, self.config.length or 0)

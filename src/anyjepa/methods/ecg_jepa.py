"""ECG-JEPA: predict the representations of the hidden 75 to 85 % of a 12-lead recording from the rest of it.

Weimann, Conrad: Self-Supervised Pre-Training with Joint-Embedding Predictive Architecture Boosts ECG Classification Performance,
Computers in Biology and Medicine 196 (2025), arXiv 2410.13867.

    loss = mean | predictor(context_encoder(x[visible]), positions[hidden])  -  target_encoder(x)[hidden] |

where the target encoder is a moving average of the context encoder. A token is 50 ms of all leads. The official code is followed
in all constants; ``compat=official`` brings back what slips in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.contract import Batch, Layout, Masks, Output, Representation
from anyjepa.errors import ConfigError
from anyjepa.masking.intervals import IntervalMaskConfig, interval_masks
from anyjepa.methods.predictive import Predictive
from anyjepa.nn.predictor import Predictor
from anyjepa.nn.recordings import NANO, RecordingConfig, fit_recording
from anyjepa.nn.transformer import Encoder, initialise
from anyjepa.objectives.distances import distance
from anyjepa.objectives.prediction import check_regularizer, prediction_loss
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig, ema_momentum
from anyjepa.tokenizers.patches import PatchTokenizer, cut_patches, patch_layout

SIZES: dict[str, dict[str, Any]] = {
    # The official configs ViT-XS, ViT-S and ViT-B; nano is ours.
    "nano": NANO,
    "xs": dict(dim=192, depth=8, heads=4, predictor_width=96, predictor_depth=8, predictor_heads=4),
    "small": dict(dim=384, depth=8, heads=6, predictor_width=192, predictor_depth=8, predictor_heads=6),
    "base": dict(dim=768, depth=12, heads=12, predictor_width=384, predictor_depth=12, predictor_heads=12),
}


@dataclass(frozen=True)
class ECGJEPAConfig(RecordingConfig):
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    sizes: ClassVar = SIZES
    """What each size stands for."""
    size: str = "xs"
    """One dial for all parts: nano (ours), xs, small, base (ViT-XS, -S and -B of the paper; small is its best)."""
    channels: int | None = None
    """Leads; None: from the data (12 in the paper, in the order I, II, III, aVR, aVL, aVF, V1 to V6)."""
    length: int | None = None
    """Samples per recording; None: from the data (5000 in the paper: 10 s at 500 Hz)."""
    patch_size: int = 25
    """Samples per token (25: 50 ms at 500 Hz)."""
    drop_path: float = 0.0
    """Stochastic depth of the encoder (none in the paper)."""
    positions: Literal["interleaved", "sincos", "learned", "rotary", "none"] = "interleaved"
    """Positions of the encoder: fixed sines and cosines, side by side in the official code. Shorter inputs get the first."""
    registers: int = 1
    """Learned tokens without position in front of the sequence (1 in the official configs)."""
    bias: bool = False
    """Biases of the linear layers (none in the official configs)."""
    norm_bias: bool = False
    """Biases of the layer norms (none today; the code had them until October 2025)."""
    init: Literal["normal", "xavier"] = "normal"
    """Initial weights: normal of std 0.02, output projections of a stack of L blocks divided by sqrt(2 L); or Xavier-uniform, as
    in the code until October 2025. Which of the two made the published figures is not known."""
    patch_std: float = 0.02
    """Standard deviation of the initial patch projection (0.02 in the paper: waves of 0.2 mV then start out ten times weaker than
    the positions, and a short training learns little of them). Not for init=xavier."""
    masks: IntervalMaskConfig = field(default_factory=IntervalMaskConfig)
    """Visible share and shortest hidden run."""
    target: Literal["ema", "stopgrad", "frozen", "online"] = "ema"
    """Target rule (moving average in the paper; online lets the targets learn too and needs a regularizer)."""
    ema: tuple[float, float] = (0.998, 0.9995)
    """Momentum of the moving average, linear over training. The start is made for 100,000 steps: with 1,000 take 0.99."""
    target_norm: bool = False
    """Layer norm without affine on the targets (none in the paper: they have the encoder's own last norm)."""
    distance: Literal["l1", "smooth_l1", "l2", "cosine"] = "l1"
    """Distance to the targets."""
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """Regularizer of context, targets or predictions (none in the paper)."""
    compat: Literal["fixed", "official"] = "fixed"
    """``official``: the target encoder moves at the start of every forward instead of after every step, so twice per step where
    two micro-batches are accumulated, on a momentum schedule that then runs twice as fast, and never to the weights of the last
    step; dropout of paths is at work in it too (the code never puts it into evaluation mode); and the predictor's initial output
    projections are divided by the depth of the encoder instead of its own."""
    seed: int = 0
    """Seed of the initial weights, and of the masks of a bare tensor."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            steps=100_000,
            warmup_steps=None,
            start_lr=1e-6,
            lr=1e-3,
            final_lr=1e-6,
            weight_decay=0.01,
            final_weight_decay=0.1,
            betas=(0.9, 0.99),
            eps=1e-6,
            from_zero=True,
        )
    )
    """Training length, AdamW and its schedules (official configs: batches of 2048; warm-up 10,000 of 100,000 steps)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0.0 <= m <= 1.0 for m in self.ema):
            raise ConfigError(f"ema must lie in [0, 1], got {self.ema}")
        if not self.patch_std > 0:
            raise ConfigError(f"patch_std must be above 0, got {self.patch_std}")
        check_regularizer(self.regularizer, self.target)

    def fit(self, shape: tuple[int, ...] = (12, 5000)) -> ECGJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, T) of a typical recording.

        Raises:
            ConfigError: the samples are not recordings, sizes do not divide, or the sequence is too short for the masks.
        """
        # Any: nothing is None from here on
        filled: Any = replace(self, **fit_recording(self, shape, multiple=2))
        layout = patch_layout((filled.length,), (filled.patch_size,))
        optim = self.optim
        if optim.warmup_steps is None:
            optim = replace(optim, warmup_steps=optim.steps // 10)
        return replace(filled, masks=self.masks.fit(layout), optim=optim)


@register(
    "ecg-jepa",
    config=ECGJEPAConfig,
    summary="predicts the features of hidden stretches of a multi-lead ECG; no augmentation beyond the crop",
    modality="ecg",
    citation="Weimann, Conrad, Self-Supervised Pre-Training with JEPA Boosts ECG Classification Performance, arXiv 2410.13867",
    licence="no official weights are published",
)
class ECGJEPA(Predictive):
    """ECG-JEPA as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`ECGJEPAConfig.fit`.
    """

    config: ECGJEPAConfig
    forwards: Tensor

    def __init__(self, config: ECGJEPAConfig | None = None) -> None:
        super().__init__(config or ECGJEPAConfig())
        if self.config.compat == "official":
            self.register_buffer("forwards", torch.zeros((), dtype=torch.int64))

    def build(self, c: Any) -> None:
        """Encoder, predictor and their first weights."""
        shared: dict[str, Any] = dict(mlp_ratio=c.mlp_ratio, eps=c.eps, bias=c.bias, norm_bias=c.norm_bias)
        self.context_encoder = Encoder(
            PatchTokenizer((c.length,), (c.patch_size,), c.channels, c.dim, bias=c.bias),
            dim=c.dim,
            depth=c.depth,
            heads=c.heads,
            positions=c.positions,
            registers=c.registers,
            drop_path=c.drop_path,
            qkv_bias=c.bias,
            **shared,
        )
        self.predictor = Predictor(
            self.layout,
            dim=c.dim,
            width=c.predictor_width,
            depth=c.predictor_depth,
            heads=c.predictor_heads,
            positions="interleaved" if c.positions == "interleaved" else "sincos",
            **shared,
        )
        self._initialise(c)

    def _initialise(self, c: Any) -> None:
        initialise(self.context_encoder, residual_depth=c.depth)
        initialise(self.predictor, residual_depth=c.depth if c.compat == "official" else c.predictor_depth)
        if c.init == "normal":
            with torch.no_grad():
                self.context_encoder.tokenizer.proj.weight.mul_(c.patch_std / 0.02)
            return
        for part in (*self.context_encoder.modules(), *self.predictor.modules()):
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
        # The official patch projection is a convolution, whose outputs Xavier counts once per sample of the patch.
        patch = self.context_encoder.tokenizer.proj.weight
        bound = math.sqrt(6 / (patch.shape[1] + patch.shape[0] * c.patch_size))
        nn.init.uniform_(patch, -bound, bound)

    @property
    def layout(self) -> Layout:
        """How the tokens lie."""
        return self.context_encoder.tokenizer.layout

    @property
    def targets_drop(self) -> bool:
        """As in the official code, where the config asks for it."""
        return bool(self.config.compat == "official")

    def draw_masks(self, batch: Batch) -> Masks:
        """The masks of a batch, on the CPU."""
        return interval_masks(
            self.config.masks, self.layout, seed=batch.seed, step=batch.step, index=batch.index.numpy()
        )

    def forward(self, batch: Batch | Tensor, masks: Masks | None = None) -> Output:
        """Loss and intermediates.

        Args:
            batch: recordings; a bare tensor (B, C, T) is a batch of samples 0..B-1 at the current step.
            masks: masks to use instead of drawn ones.
        """
        batch = self.as_batch(batch)
        masks = (masks or self.draw_masks(batch)).to(batch.inputs.device)
        patches = self.context_encoder.tokenizer.cut(batch.inputs)
        if self.config.compat == "official" and self.training and torch.is_grad_enabled():
            self._move(int(self.forwards))
            self.forwards += 1
        with self.making_targets():
            # The last block is computed for the hidden tokens alone: nobody reads its other outputs.
            target = self.target_encoder(patches, outputs=masks.targets.flatten(1))
            if self.config.target_norm:
                target = F.layer_norm(target.float(), target.shape[-1:])
            target = target.unflatten(1, masks.targets.shape[1:])
        context = self.context_encoder(patches, masks.context, valid=masks.context_valid)
        predicted = self.predictor(context, masks.context, masks.targets, valid=masks.context_valid)
        loss, losses = prediction_loss(
            distance(self.config.distance),
            self.config.regularizer,
            predicted=predicted,
            target=target,
            context=context,
            valid=masks.context_valid,
            seed=batch.seed,
            step=batch.step,
        )
        return Output(loss, losses, context, predicted, target.detach(), masks)

    def after_step(self, step: int) -> None:
        """Moves the target encoder, so that the targets of step t have moved with the momentum of t = 1, 2, ..."""
        self.step = step + 1
        if self.config.compat == "fixed":
            self._move(step + 1)

    def _move(self, t: int) -> None:
        self.target.update(self.context_encoder, ema_momentum(*self.config.ema, self.optim, t))

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of recordings (B, C, T), T the training length or less in whole patches; registers left out.

        The paper trains on 10 s and classifies crops of 2.5 s, which get the first positions.

        Raises:
            ConfigError: an unknown encoder, or recordings of another shape.
        """
        tokens = self._encode(x, encoder, layer=layer)
        return Representation(tokens, tokens.mean(dim=1), encoder, layer, Layout((tokens.shape[1],)))

    def sequence(self, x: Float[Tensor, "B C T"], *, encoder: str = "target") -> Float[Tensor, "B S D"]:
        """Registers, then tokens, of recordings as in :meth:`encode`: what the paper's heads read."""
        return self._encode(x, encoder, with_registers=True)

    def _encode(self, x: Tensor, encoder: str, **how: Any) -> Tensor:
        module = self.encoder_module(encoder)
        channels, length = self.input_shape()
        patch = self.config.patch_size
        if x.ndim != 3 or x.shape[1] != channels or not 0 < x.shape[2] <= length or x.shape[2] % patch:
            raise ConfigError(
                f"expected input (B, {channels}, T) with T a multiple of {patch} up to {length}, got {tuple(x.shape)}"
            )
        patches = cut_patches(x, (patch,))
        keep = torch.arange(patches.shape[1], device=x.device).expand(len(x), -1)
        found: Tensor = module(patches, keep, **how)
        return found

    def input_shape(self) -> tuple[int, ...]:
        """(C, T)."""
        return (self.config.channels or 0, self.config.length or 0)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weight decay on the weights of linear layers alone, as in the official code: not on registers and mask token."""
        linear = {id(part.weight) for part in self.modules() if isinstance(part, nn.Linear)}
        trained = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if id(p) in linear], "decay": True},
            {"params": [p for p in trained if id(p) not in linear], "decay": False},
        ]

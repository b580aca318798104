"""LeJEPA: views of one image agree, and the embeddings of all images are spread like a standard normal.

Balestriero, LeCun: LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics, arXiv 2511.08544.

    z_v = projector(mean over tokens of encoder(view v)),   centre = mean of the global z_v
    loss = (1 - w) * mean over views of (z_v - centre)^2  +  w * mean over views of SIGReg(z_v over the batch)

There is no predictor, no target encoder and no stop-gradient: the centre carries gradient, and only the regularizer keeps the
embeddings from collapsing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.contract import Batch, Layout, Method, Output, Representation
from anyjepa.errors import ConfigError, nearest
from anyjepa.nn.projector import Projector
from anyjepa.nn.transformer import Block, initialise
from anyjepa.nn.vit import ViTConfig, build_vit, fit_vit
from anyjepa.objectives.regularizers import RegularizerConfig, penalty
from anyjepa.randomness import uniform
from anyjepa.registry import register
from anyjepa.schedules import OptimConfig
from anyjepa.tokenizers.patches import patch_layout
from anyjepa.views import ViewConfig, random_views


@dataclass(frozen=True)
class LeJEPAConfig(ViTConfig):
    """Every constant of the method. None means: chosen from ``size`` or from the data, and printed."""

    global_views: int = 4
    """Views of full size of each image; their mean is the centre (4 in the minimal code, 2 in the paper)."""
    local_views: int = 0
    """Views of a smaller size (0 in the minimal code, 6 in the paper)."""
    views: ViewConfig = field(default_factory=ViewConfig)
    """Crop and colours of global views. Their size is the image size."""
    local: ViewConfig = field(default_factory=lambda: ViewConfig(crop_scale=(0.05, 0.3)))
    """Crop and colours of local views; size None: 7/16 of the image size in whole patches, as the paper's 98 of 224."""
    visible: float = 1.0
    """Share of the tokens that the encoder is given of every global view but the first (1 in the paper). With less, a view must
    be told from a part of it: masked-latent prediction without a predictor, as in arXiv 2204.07141, and a cheaper step."""
    hidden: int | None = None
    """Width of the two hidden layers of the projector (2048 in the minimal code; nano: 512)."""
    projection: int = 128
    """Width of the embeddings that are compared (16 to 1024 in the paper)."""
    projector_norm: Literal["batch", "layer"] = "batch"
    """Normalisation in the projector (batch in the minimal code). Batch statistics are those of one process."""
    regularizer: RegularizerConfig = field(
        default_factory=lambda: RegularizerConfig(kind="sigreg", weight=0.02)
    )
    """Regularizer of each view's embeddings over the batch. Weight: 0.02 in the minimal code, 0.05 in the paper; the other
    part of the loss has 1 - weight. Its fields `on` and `level` have no meaning here and are refused."""
    seed: int = 0
    """Seed of the initial weights, and of the views of a bare tensor."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            start_lr=2e-5, lr=2e-3, final_lr=2e-6, weight_decay=0.05, final_weight_decay=0.05
        )
    )
    """Training length, AdamW and its schedules. Rate 2e-3 and constant decay 0.05: the minimal code, at 256 images a step. It
    warms up for one epoch: set `optim.warmup_steps`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.global_views < 1 or self.local_views < 0 or self.global_views + self.local_views < 2:
            raise ConfigError(
                f"at least one global view and two views in all are needed, got global_views={self.global_views}, "
                f"local_views={self.local_views}"
            )
        if self.visible < 1 and self.global_views < 2:
            raise ConfigError("visible below 1 needs two global views: the first is always seen whole")
        if not 0 < self.visible <= 1:
            raise ConfigError(f"visible is a share above 0 and up to 1, got {self.visible}")
        if not 0 <= self.regularizer.weight <= 1:
            raise ConfigError(f"regularizer.weight must lie in 0..1, got {self.regularizer.weight}")
        for name in ("on", "level"):
            if getattr(self.regularizer, name) != getattr(RegularizerConfig(), name):
                raise ConfigError(
                    f"regularizer.{name} has no meaning here: the embeddings of the views are regularized; leave it out"
                )

    def fit(self, shape: tuple[int, ...] = (3, 224, 224)) -> LeJEPAConfig:
        """The same config with every None filled in, from ``size`` and from the shape (C, H, W) of a typical sample.

        Raises:
            ConfigError: sizes do not divide, or a local view is larger than the image.
        """
        filled: Any = replace(self, **fit_vit(self, shape, "LeJEPA"))  # Any: nothing is None from here on
        side, patch = filled.image_size, filled.patch_size
        if self.views.size not in (None, side):
            raise ConfigError(
                f"views.size={self.views.size}, but global views have the image size {side}: leave it out"
            )
        small = self.local.size or tuple(max(1, round(s * 7 / 16 / patch)) * patch for s in side)
        patch_layout(small, (patch, patch))
        if small[0] > side[0] or small[1] > side[1]:
            raise ConfigError(f"local.size={small} is larger than the image size {side}")
        return replace(
            filled,
            views=replace(self.views, size=side),
            local=replace(self.local, size=small),
            hidden=self.hidden or (512 if self.size == "nano" else 2048),
        )

    def normalised(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> LeJEPAConfig:
        """The same config for images from which ``mean`` was taken off and that were divided by ``std``.

        Raises:
            ConfigError: views are told something else.
        """
        for name, value in (("mean", mean), ("std", std)):
            for kind in ("views", "local"):
                if getattr(getattr(self, kind), name) not in (None, value):
                    raise ConfigError(f"{kind}.{name} must be that of the images, {value}: leave it out")
        return replace(
            self,
            views=replace(self.views, mean=mean, std=std),
            local=replace(self.local, mean=mean, std=std),
        )

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        small = "x".join(map(str, self.local.size or ()))
        views = f"{self.global_views} views" + (
            f" and {self.local_views} of {small}" if self.local_views else ""
        )
        return (
            f"size={self.size}: encoder {self.dim} wide, {self.depth} blocks, {self.heads} heads; projector {self.hidden} wide, "
            f"to {self.projection}; {views}; {self.images}"
        )


@register(
    "lejepa",
    config=LeJEPAConfig,
    summary="views of an image agree and embeddings are spread like a normal; no target encoder, no stop-gradient",
    modality="images",
    citation="Balestriero, LeCun, LeJEPA: Provable and Scalable SSL Without the Heuristics, arXiv 2511.08544",
    licence="no official weights are read; the official code is non-commercial and not used",
)
class LeJEPA(Method):
    """LeJEPA as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`LeJEPAConfig.fit`.
    """

    config: LeJEPAConfig

    def __init__(self, config: LeJEPAConfig | None = None) -> None:
        super().__init__()
        config = config or LeJEPAConfig()
        self.config = config.fit(config.default_shape)
        c: Any = self.config  # Any: nothing is None in a fitted config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(c.seed)
            self.encoder = build_vit(c)
            initialise(self.encoder)
            self.encoder.tokenizer.initialise(c.patch_std)
            self.projector = Projector(c.dim, c.hidden, c.projection, c.projector_norm)
        self.step = 0

    @property
    def layout(self) -> Layout:
        """How the tokens lie."""
        return self.encoder.tokenizer.layout

    def draw_views(self, batch: Batch) -> list[Float[Tensor, "V B C h w"]]:
        """The global and, if there are any, the local views of a batch."""
        c, first = self.config, self.config.global_views
        kinds = [(c.views, range(first)), (c.local, range(first, first + c.local_views))]
        return [
            random_views(config, batch.inputs, batch.index, numbers, seed=batch.seed, step=batch.step)[0]
            for config, numbers in kinds
            if numbers
        ]

    def forward(self, batch: Batch | Tensor) -> Output:
        """Loss and intermediates. A bare tensor (B, C, H, W) is a batch of samples 0..B-1 at the current step.

        In the output a view is a target block of one token: ``predicted`` (B, V, 1, E) are the embeddings of the views, and
        ``target`` is for each the mean of the other global views: with the centre of the loss a view would be compared with
        itself. ``context`` (B, N, D) are the tokens of the first view.
        """
        if isinstance(batch, Tensor):
            batch = Batch(batch, torch.arange(len(batch)), step=self.step, seed=self.config.seed)
        if tuple(batch.inputs.shape[1:]) != self.input_shape():
            raise ConfigError(
                f"expected input (B, {', '.join(map(str, self.input_shape()))}), got {tuple(batch.inputs.shape)}"
            )
        whole, *local = self.draw_views(batch)
        if self.config.visible < 1:
            tokens = [self._tokens(whole[0]), self._part(whole[1:], batch)]
        else:
            tokens = [self._tokens(whole.flatten(0, 1))]
        tokens += [self._tokens(views.flatten(0, 1)) for views in local]
        pooled = torch.cat([t.mean(dim=1) for t in tokens])
        z = self.projector(pooled).float().unflatten(0, (-1, len(batch.inputs)))  # (V, B, E)

        centre = z[: self.config.global_views].mean(dim=0)
        invariance = (z - centre).square().mean()
        rule = self.config.regularizer
        weight = 0.0 if rule.kind == "none" else rule.weight
        spread = torch.stack([penalty(rule, view, seed=batch.seed, step=batch.step) for view in z]).mean()
        return Output(
            (1 - weight) * invariance + weight * spread,
            {"invariance": invariance.detach(), "regularizer": spread.detach()},
            context=tokens[0][: len(batch.inputs)],
            predicted=z.transpose(0, 1).unsqueeze(2),
            target=self._others(z, centre).detach().transpose(0, 1).unsqueeze(2),
        )

    def after_step(self, step: int) -> None:
        """Counts steps; nothing else moves."""
        self.step = step + 1

    def rescue(self) -> str | None:
        """Switches SIGReg on where no regularizer is at work."""
        if self.config.regularizer.kind != "none":
            return None
        rule = LeJEPAConfig().regularizer
        self.config = replace(self.config, regularizer=rule)
        return f"switched on model.regularizer: kind={rule.kind}, weight={rule.weight}"

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        """Representation of whole images (B, C, H, W). ``"target"`` and ``"context"`` are the one encoder."""
        tokens = self.encoder_module(encoder)(self.encoder.tokenizer.cut(x), layer=layer)
        return Representation(tokens, tokens.mean(dim=1), encoder, layer, self.layout)

    def encoder_module(self, encoder: str = "target") -> nn.Module:
        """The one encoder, under either name."""
        if encoder not in ("target", "context"):
            raise ConfigError(f"unknown encoder '{encoder}': {nearest(encoder, ('target', 'context'))}")
        return self.encoder

    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return (self.config.channels or 0, *(self.config.image_size or ()))

    def compile_units(self) -> Iterable[nn.Module]:
        """The transformer blocks."""
        return [module for module in self.encoder.modules() if isinstance(module, Block)]

    def _others(self, z: Float[Tensor, "V B E"], centre: Float[Tensor, "B E"]) -> Float[Tensor, "V B E"]:
        """For each view the mean of the other global views."""
        views, others = self.config.global_views, centre.expand_as(z).clone()
        if views > 1:
            others[:views] = (views * centre - z[:views]) / (views - 1)
        return others

    def _part(self, views: Float[Tensor, "V B C h w"], batch: Batch) -> Float[Tensor, "S K D"]:
        """Tokens of a random share of each of the global views 1, 2, ..."""
        n = self.layout.tokens
        count, index = max(1, round(n * self.config.visible)), batch.index.numpy()
        orders = [
            uniform(batch.seed, f"view/visible/{view}", batch.step, index, n).argsort(axis=1)[:, :count]
            for view in range(1, len(views) + 1)
        ]
        keep = torch.from_numpy(np.sort(np.concatenate(orders), axis=1)).to(views.device)
        return self.encoder(self.encoder.tokenizer.cut(views.flatten(0, 1)), keep)

    def _tokens(self, images: Float[Tensor, "S C h w"]) -> Float[Tensor, "S n D"]:
        """Tokens of views of the image size or smaller; a smaller view lies in the middle of the grid.

        So neighbours are one step apart in views of either size, and learned or rotary positions need no interpolation.
        """
        tokenizer = self.encoder.tokenizer
        if tuple(images.shape[2:]) == tokenizer.size:
            return self.encoder(tokenizer.cut(images))
        grid = tokenizer.layout.grid
        small = patch_layout(images.shape[2:], tokenizer.patch).grid
        (top, left), patch = [(g - s) // 2 for g, s in zip(grid, small, strict=True)], tokenizer.patch[0]
        below, right = grid[0] - small[0] - top, grid[1] - small[1] - left
        canvas = F.pad(images, [patch * n for n in (left, right, top, below)])
        index = torch.arange(tokenizer.layout.tokens, device=images.device).view(grid)
        keep = index[top : top + small[0], left : left + small[1]].flatten()
        return self.encoder(tokenizer.cut(canvas), keep.expand(len(images), -1))

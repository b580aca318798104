"""The two programs that are compared: the official I-JEPA step and this library's, on the same weights."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Setting:
    """One pair of models and its batch."""

    size: str
    image: int
    batch: int
    width: int
    """Width of the predictor; its depth is 6."""
    dim: int
    heads: int
    min_keep: int
    patch: int = 16
    depth: int = 12
    predictor_depth: int = 6

    @property
    def tokens(self) -> int:
        return (self.image // self.patch) ** 2


SETTINGS = {
    "small-224": Setting("small", 224, 16, 384, 384, 6, 10),
    "small-224-narrow": Setting("small", 224, 16, 192, 384, 6, 10),
    "tiny-96": Setting("tiny", 96, 64, 192, 192, 3, 3),
}
STEPS, WARMUP = 10_000, 1_333
"""Length of the schedules, not of the benchmark."""


class Official:
    """The official models and optimizer, in a step written after the description of the method."""

    def __init__(self, setting: Setting, options: argparse.Namespace) -> None:
        from src.helper import init_model, init_opt

        torch.manual_seed(options.seed)
        self.options, self.done = options, 0
        self.encoder, self.predictor = init_model(
            options.device,
            patch_size=setting.patch,
            model_name=f"vit_{setting.size}",
            crop_size=setting.image,
            pred_depth=setting.predictor_depth,
            pred_emb_dim=setting.width,
        )
        self.target, *_ = init_model(
            options.device,
            patch_size=setting.patch,
            model_name=f"vit_{setting.size}",
            crop_size=setting.image,
        )
        self.target.load_state_dict(self.encoder.state_dict())
        self.target.requires_grad_(False)
        self.optimizer, _, self.rate, self.decay = init_opt(
            self.encoder,
            self.predictor,
            iterations_per_epoch=STEPS,
            start_lr=2e-4,
            ref_lr=1e-3,
            warmup=(WARMUP + 0.5) / STEPS,
            num_epochs=1,
            wd=0.04,
            final_wd=0.4,
            final_lr=1e-6,
            ipe_scale=1.0,
        )

    def step(self, images: Tensor, context: list[Tensor], targets: list[Tensor]) -> float:
        from src.masks.utils import apply_masks
        from src.utils.tensors import repeat_interleave_batch

        self.rate.step()
        self.decay.step()
        with precision(self.options):
            with torch.no_grad():
                h = self.target(images)
                h = F.layer_norm(h, (h.size(-1),))
                h = repeat_interleave_batch(apply_masks(h, targets), len(images), repeat=len(context))
            z = self.predictor(self.encoder(images, context), context, targets)
            loss = F.smooth_l1_loss(z, h)
        loss.backward()
        self.optimizer.step()
        if self.options.with_grad_log:
            from src.utils.logging import grad_logger

            grad_logger(self.encoder.named_parameters())
        self.optimizer.zero_grad()
        momentum = 0.996 + 0.004 * self.done / STEPS
        with torch.no_grad():
            for online, moved in zip(self.encoder.parameters(), self.target.parameters(), strict=True):
                moved.data.mul_(momentum).add_((1.0 - momentum) * online.detach().data)
        self.done += 1
        return float(loss.detach())


class Ours:
    """This library's method and optimizer, as its training loop calls them, with the weights of ``official``."""

    def __init__(self, setting: Setting, options: argparse.Namespace, official: Official) -> None:
        from anyjepa.hub.names import OFFICIAL_ENCODER, OFFICIAL_PREDICTOR, to_ours
        from anyjepa.methods.ijepa import IJEPA, IJEPAConfig
        from anyjepa.schedules import OptimConfig
        from anyjepa.training.optimizer import build_optimizer

        self.options, self.done = options, 0
        self.method = IJEPA(
            IJEPAConfig(
                size=setting.size,
                image_size=(setting.image, setting.image),
                channels=3,
                patch_size=setting.patch,
                predictor_width=setting.width,
                optim=OptimConfig(steps=STEPS, warmup_steps=WARMUP),
            )
        )
        copies = (
            (self.method.context_encoder, OFFICIAL_ENCODER, official.encoder),
            (self.method.target_encoder, OFFICIAL_ENCODER, official.target),
            (self.method.predictor, OFFICIAL_PREDICTOR, official.predictor),
        )
        for module, names, theirs in copies:
            found = to_ours(names, {k: v.detach().cpu().clone() for k, v in theirs.state_dict().items()})
            module.load_state_dict({k: v for k, v in found.items() if k in module.state_dict()})
        self.method.to(options.device).train()
        if options.compile:
            for unit in self.method.compile_units():
                unit.compile()
        self.optimizer = build_optimizer(self.method)

    def step(self, images: Tensor, context: list[Tensor], targets: list[Tensor]) -> float:
        from anyjepa.contract import Batch, Masks
        from anyjepa.training.optimizer import set_schedules

        set_schedules(self.optimizer, self.method.optim, self.done + 1)
        masks = Masks(context[0], torch.stack(targets, dim=1))
        with precision(self.options):
            loss = self.method(Batch(images, torch.arange(len(images)), step=self.done), masks).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(self.done)
        self.done += 1
        return float(loss.detach())


def precision(options: argparse.Namespace) -> Any:
    """Autocast of the forward pass, as in the official code."""
    return torch.autocast(options.device, dtype=torch.bfloat16) if options.dtype == "bf16" else nullcontext()

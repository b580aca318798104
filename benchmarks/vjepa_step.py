"""One V-JEPA training step of this library against the official one: time, equal losses, and where the time goes.

    python benchmarks/vjepa_step.py --official ../jepa --setting tiny-112 --pairs 8 --threads 1 --clock cpu

Both start from the same weights and see the same clips and masks (drawn by the official collator with its published constants).
Each has a process of its own; they take turns, A, B, A, B, ..., and the ratio is the median over pairs. The official code runs
with the defaults of its process, ours with the allocator setting that ``anyjepa pretrain`` makes. A step is target, both contexts
and predictions, loss, backward, AdamW with its schedules, moving average; the official step's logs of gradients and of the
optimizer are left out unless ``--with-logs``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import report
from turns import Program, add_options, take_turns

STEPS, WARMUP = 10_000, 1_333
"""Length of the schedules, not of the benchmark."""


@dataclass(frozen=True)
class Setting:
    """One pair of models and its batch: tokens of 2 x 16 x 16."""

    size: str
    image: int
    width: int
    """Width of the predictor; its depth is 12."""
    batch: int
    frames: int = 16
    predictor_depth: int = 12


SETTINGS = {"tiny-112": Setting("tiny", 112, 192, 4), "small-112": Setting("small", 112, 384, 4)}


class Official:
    """The official models and optimizer, in a step written after the description of the method."""

    def __init__(self, setting: Setting, options: argparse.Namespace) -> None:
        import copy

        from app.vjepa.utils import init_opt, init_video_model

        torch.manual_seed(options.seed)
        self.options, self.done = options, 0
        self.encoder, self.predictor = init_video_model(
            "cpu",
            patch_size=16,
            num_frames=setting.frames,
            tubelet_size=2,
            model_name=f"vit_{setting.size}",
            crop_size=setting.image,
            pred_depth=setting.predictor_depth,
            pred_embed_dim=setting.width,
            uniform_power=True,
            use_mask_tokens=True,
            num_mask_tokens=2,
            zero_init_mask_tokens=True,
            use_sdpa=True,
        )
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.optimizer, _, self.rate, self.decay = init_opt(
            self.encoder,
            self.predictor,
            iterations_per_epoch=STEPS,
            start_lr=2e-4,
            ref_lr=6.25e-4,
            warmup=(WARMUP + 0.5) / STEPS,
            num_epochs=1,
            wd=0.04,
            final_wd=0.4,
            final_lr=1e-6,
            ipe_scale=1.25,
        )

    def step(self, clips: Tensor, context: list[Tensor], targets: list[Tensor]) -> float:
        from src.masks.utils import apply_masks

        self.rate.step()
        self.decay.step()
        with torch.no_grad():
            h = self.target(clips)
            h = apply_masks(F.layer_norm(h, (h.size(-1),)), targets, concat=False)
        z = self.predictor(self.encoder(clips, context), h, context, targets)
        loss: Any = sum((a - b).abs().mean() for a, b in zip(z, h, strict=True)) / len(targets)
        loss.backward()
        self.optimizer.step()
        if self.options.with_logs:
            from src.utils.logging import adamw_logger, grad_logger

            grad_logger(self.encoder.named_parameters())
            grad_logger(self.predictor.named_parameters())
            adamw_logger(self.optimizer)
        self.optimizer.zero_grad()
        momentum = 0.998 + 0.002 * self.done / (1.25 * STEPS)
        with torch.no_grad():
            for online, moved in zip(self.encoder.parameters(), self.target.parameters(), strict=True):
                moved.data.mul_(momentum).add_((1.0 - momentum) * online.detach().data)
        self.done += 1
        return float(loss.detach())


class Ours:
    """This library's method and optimizer, as its training loop calls them, with the weights of ``official``."""

    def __init__(self, setting: Setting, official: Official) -> None:
        from anyjepa.hub.names import to_ours
        from anyjepa.hub.official_files import tensors_of
        from anyjepa.hub.official_video import ENCODER, predictor_map
        from anyjepa.methods.vjepa import VJEPA, VJEPAConfig
        from anyjepa.schedules import OptimConfig
        from anyjepa.training.optimizer import build_optimizer

        optim = OptimConfig(
            steps=STEPS, warmup_steps=WARMUP, start_lr=2e-4, lr=6.25e-4, final_lr=1e-6, stretch=1.25
        )
        self.done = 0
        self.method: Any = VJEPA(
            VJEPAConfig(
                size=setting.size,
                frames=setting.frames,
                image_size=(setting.image, setting.image),
                channels=3,
                patch_size=16,
                predictor_width=setting.width,
                predictor_depth=setting.predictor_depth,
                optim=optim,
            )
        )
        for module, names, theirs in (
            (self.method.context_encoder, ENCODER, official.encoder),
            (self.method.target_encoder, ENCODER, official.target),
            (self.method.predictor, predictor_map(2), official.predictor),
        ):
            state = {name: value.detach().clone() for name, value in theirs.state_dict().items()}
            module.load_state_dict(to_ours(names, tensors_of(state, "official")))
        self.optimizer = build_optimizer(self.method)

    def step(self, clips: Tensor, context: list[Tensor], targets: list[Tensor]) -> float:
        from anyjepa.contract import Batch, Masks
        from anyjepa.training.optimizer import set_schedules

        set_schedules(self.optimizer, self.method.optim, self.done + 1)
        masks = [Masks(c, t.unsqueeze(1)) for c, t in zip(context, targets, strict=True)]
        loss = self.method(Batch(clips, torch.arange(len(clips)), step=self.done), masks).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(self.done)
        self.done += 1
        return float(loss.detach())


def draw_masks(setting: Setting, options: argparse.Namespace) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Masks of all steps, by the official collator."""
    from src.masks.multiblock3d import MaskCollator

    kinds = [
        dict(aspect_ratio=(0.75, 1.5), num_blocks=n, spatial_scale=(s, s), temporal_scale=(1.0, 1.0))
        for n, s in ((8, 0.15), (2, 0.7))
    ]
    torch.manual_seed(options.seed)
    collator = MaskCollator(
        kinds, crop_size=(setting.image, setting.image), num_frames=setting.frames, patch_size=16, tubelet_size=2
    )  # fmt: skip
    # One more for the profile.
    return [collator([torch.zeros(1)] * setting.batch)[1:] for _ in range(options.warmup + options.pairs + 1)]


def make(program: str, options: argparse.Namespace) -> Program:
    """A program, and what it is given."""
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, options.official)
    setting = SETTINGS[options.setting]
    official = Official(setting, options)
    held: Any = official if program == "official" else Ours(setting, official)
    drawn = draw_masks(setting, options)

    def inputs(i: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        draws = torch.Generator().manual_seed(options.seed + i)
        clips = torch.randn(setting.batch, 3, setting.frames, setting.image, setting.image, generator=draws)
        return clips, *drawn[i]

    return Program(held.step, inputs, _tokens)


def _tokens(clips: Tensor, context: list[Tensor], targets: list[Tensor]) -> list[list[int]]:
    return [[len(part[0]) for part in some] for some in (context, targets)]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--official", required=True, help="checkout of facebookresearch/jepa (CC BY-NC 4.0)")
    parser.add_argument("--setting", choices=SETTINGS, default="tiny-112")
    add_options(parser, pairs=8)
    parser.add_argument("--with-logs", action="store_true", help="time the official logs of a step too")
    options = parser.parse_args()
    if not (Path(options.official) / "app" / "vjepa").is_dir():
        sys.exit(
            f"--official {options.official}: no app/vjepa there; expected a checkout of facebookresearch/jepa"
        )
    options.official = str(Path(options.official).resolve())
    turns = take_turns(make, options)
    figures = turns.figures()
    apart = figures["largest difference of losses"]["first step"]
    assert apart < 1e-5, f"the losses of the first step differ by {apart}"
    facts = {
        "setting": asdict(SETTINGS[options.setting]),
        "tokens of contexts and targets, first step": turns.notes[0],
    }
    report.step(f"vjepa_step-{options.setting}", options, facts | figures)


if __name__ == "__main__":
    main()

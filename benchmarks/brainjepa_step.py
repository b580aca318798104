"""One Brain-JEPA training step of this library against the official one: time, and equal losses.

    python benchmarks/brainjepa_step.py --official ../Brain-JEPA --threads 2

Both start from the same weights and see the same clips, masks and gradients, each in a process of its own. They take turns; the
ratio is the median over pairs of steps. The official code runs with its plain attention (``attn_mode: normal``): the other needs
flash-attn, which is there for GPUs alone, and whose import is answered by an empty module. A step is target, context, predictor,
loss, backward, AdamW with its schedules, moving average.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import report
from turns import Program, add_options, take_turns


@dataclass(frozen=True)
class Setting:
    """Shapes of a pair of models. The official positions are made for 10 times of 16 frames."""

    rois: int
    batch: int
    size: str = "small"
    predictor_width: int = 192
    predictor_depth: int = 6
    frames: int = 160


SETTINGS = {"small-116": Setting(116, 4), "small-450": Setting(450, 1)}
STEPS, WARMUP, GRADIENTS = 10_000, 1_333, 30


def use_official(path: str) -> None:
    """Make a checkout of the official code importable, as the package ``src``."""
    if not (Path(path) / "src" / "masks" / "spatialtemporal_multiblock.py").is_file():
        sys.exit(f"--official {path}: expected a checkout of Eric-LRL/Brain-JEPA")
    absent: Any = ModuleType("flash_attn")
    absent.flash_attn_qkvpacked_func = None
    sys.modules["flash_attn"] = absent
    sys.path.insert(0, path)
    import logging

    logging.disable(logging.INFO)


def table(setting: Setting) -> Tensor:
    """Coordinates of the regions: the size of the real ones, otherwise random."""
    return 0.05 * torch.randn(setting.rois, GRADIENTS, generator=torch.Generator().manual_seed(1))


class Official:
    """The official models and optimizer, in a step written after the description of the method."""

    def __init__(self, setting: Setting, options: argparse.Namespace) -> None:
        from src.helper import init_model, init_opt

        torch.manual_seed(options.seed)
        self.done = 0
        model: dict[str, Any] = dict(
            device="cpu",
            patch_size=16,
            model_name=f"vit_{setting.size}",
            crop_size=(setting.rois, setting.frames),
            pred_depth=setting.predictor_depth,
            pred_emb_dim=setting.predictor_width,
            gradient_pos_embed=table(setting).unsqueeze(0),
            attn_mode="normal",
            add_w="mapping",
        )
        self.encoder, self.predictor = init_model(**model)
        self.target, _ = init_model(**model)
        self.target.load_state_dict(self.encoder.state_dict())
        self.target.requires_grad_(False)
        self.optimizer, _, self.rate, self.decay = init_opt(
            self.encoder,
            self.predictor,
            iterations_per_epoch=STEPS,
            start_lr=5e-5,
            ref_lr=1e-3,
            warmup=(WARMUP + 0.5) / STEPS,
            num_epochs=1,
            wd=0.04,
            final_wd=0.4,
            final_lr=1e-6,
            ipe_scale=1.0,
            accumulation_steps=1,
        )

    def step(self, clips: Tensor, context: Tensor, targets: Tensor) -> float:
        from src.masks.utils import apply_masks
        from src.utils.tensors import repeat_interleave_batch

        self.rate.step()
        self.decay.step()
        with torch.no_grad():
            h = self.target(clips)
            h = apply_masks(F.layer_norm(h, (h.size(-1),)), [targets])
            h = repeat_interleave_batch(h, len(clips), repeat=1)
        z = self.predictor(self.encoder(clips, [context]), [context], [targets])
        loss = F.smooth_l1_loss(z, h)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        momentum = 0.996 + 0.004 * self.done / STEPS
        with torch.no_grad():
            for online, moved in zip(self.encoder.parameters(), self.target.parameters(), strict=True):
                moved.data.mul_(momentum).add_((1.0 - momentum) * online.detach().data)
        self.done += 1
        return float(loss.detach())


class Ours:
    """This library's method and optimizer, as its training loop calls them, with the weights of ``official``."""

    def __init__(self, setting: Setting, official: Official) -> None:
        from anyjepa.methods.brainjepa import BrainJEPA, BrainJEPAConfig
        from anyjepa.schedules import OptimConfig
        from anyjepa.training.optimizer import build_optimizer

        self.done = 0
        config = BrainJEPAConfig(
            size=setting.size,
            rois=setting.rois,
            frames=setting.frames,
            gradients=tuple(map(tuple, table(setting).tolist())),
            predictor_width=setting.predictor_width,
            predictor_depth=setting.predictor_depth,
            optim=OptimConfig(steps=STEPS, warmup_steps=WARMUP, start_lr=5e-5),
        )
        self.method = BrainJEPA(config)
        for module, theirs in (
            (self.method.context_encoder, official.encoder),
            (self.method.target_encoder, official.target),
            (self.method.predictor, official.predictor),
        ):
            module.load_state_dict(
                {
                    ours(k): v.flatten(1) if v.ndim == 4 else v
                    for k, v in theirs.state_dict().items()
                    if "emb_h" not in k
                }
            )
        self.method.train()
        self.optimizer = build_optimizer(self.method)

    def step(self, clips: Tensor, context: Tensor, targets: Tensor) -> float:
        from anyjepa.contract import Batch, Masks
        from anyjepa.training.optimizer import set_schedules

        set_schedules(self.optimizer, self.method.optim, self.done + 1)
        batch = Batch(clips, torch.arange(len(clips)), step=self.done)
        loss = self.method(batch, Masks(context, targets[:, None])).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(self.done)
        self.done += 1
        return float(loss.detach())


def ours(name: str) -> str:
    """Our name of a tensor."""
    for theirs, here in (
        ("patch_embed.proj", "tokenizer.proj"),
        ("pos_embed_proj.predictor_pos_embed_proj", "positions.proj"),
        ("predictor_2dpe_proj.predictor_pos_embed_proj", "positions.proj"),
        ("predictor_embed", "embed"),
        ("predictor_", ""),
    ):
        if name.startswith(theirs):
            return here + name[len(theirs) :]
    return name


def make(program: str, options: argparse.Namespace) -> Program:
    """A program, and what it is given."""
    use_official(options.official)
    setting = SETTINGS[options.setting]
    held: Any = Official(setting, options)
    if program == "anyjepa":
        held = Ours(setting, held)
    from anyjepa.contract import Layout
    from anyjepa.masking.roi_time import RoiTimeConfig, roi_time_masks

    index, layout = torch.arange(setting.batch), Layout((setting.rois, setting.frames // 16))

    def inputs(i: int) -> tuple[Tensor, Tensor, Tensor]:
        masks = roi_time_masks(RoiTimeConfig(), layout, seed=options.seed, step=i, index=index.numpy())
        generator = torch.Generator().manual_seed(options.seed + i)
        clips = torch.randn(setting.batch, 1, setting.rois, setting.frames, generator=generator)
        return clips, masks.context, masks.targets[:, 0]

    return Program(held.step, inputs, lambda clips, context, targets: (context.shape[1], targets.shape[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of Eric-LRL/Brain-JEPA")
    parser.add_argument("--setting", choices=SETTINGS, default="small-116")
    add_options(parser, pairs=10)
    options = parser.parse_args()
    turns = take_turns(make, options)
    tokens = [round(statistics.mean(column), 1) for column in zip(*turns.notes, strict=True)]
    facts = {"setting": asdict(SETTINGS[options.setting]), "mean tokens: context, targets": tokens}
    report.step(f"brainjepa_step-{options.setting}", options, facts | turns.figures())


if __name__ == "__main__":
    main()

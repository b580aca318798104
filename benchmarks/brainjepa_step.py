"""One Brain-JEPA training step of this library against the official one: time, and equal losses.

    python benchmarks/brainjepa_step.py --official ../Brain-JEPA --threads 2

Both start from the same weights and see the same clips, masks and gradients, each in a process of its own. They take turns; the
ratio is the median over pairs of steps. The official code runs with its plain attention (``attn_mode: normal``): the other needs
flash-attn, which is there for GPUs alone, and whose import is answered by an empty module. A step is target, context, predictor,
loss, backward, AdamW with its schedules, moving average.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import report
from ijepa_step import profile


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


def work(connection: Any, name: str, options: argparse.Namespace, program: str) -> None:
    """A process: runs one step when asked. Answers (seconds, loss)."""
    if program == "anyjepa":
        from anyjepa.training.allocator import tune_allocator

        tune_allocator()
    torch.set_num_threads(options.threads)
    use_official(options.official)
    setting = SETTINGS[name]
    held: Any = Official(setting, options)
    if program == "anyjepa":
        held = Ours(setting, held)
    from anyjepa.contract import Layout
    from anyjepa.masking.roi_time import RoiTimeConfig, roi_time_masks

    connection.send(None)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    while (request := connection.recv()) is not None:
        i, profiled = request
        index = torch.arange(setting.batch)
        layout = Layout((setting.rois, setting.frames // 16))
        masks = roi_time_masks(RoiTimeConfig(), layout, seed=options.seed, step=i, index=index.numpy())
        generator = torch.Generator().manual_seed(options.seed + i)
        clips = torch.randn(setting.batch, 1, setting.rois, setting.frames, generator=generator)
        inputs = (clips, masks.context, masks.targets[:, 0])
        if profiled:
            connection.send(profile(held.step, *inputs))
            continue
        start = clock()
        loss = held.step(*inputs)
        connection.send((clock() - start, loss, masks.context.shape[1], masks.targets.shape[2]))


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one setting."""
    spawn = multiprocessing.get_context("spawn")
    pipes = {}
    for program in ("official", "anyjepa"):
        here, there = spawn.Pipe()
        spawn.Process(target=work, args=(there, name, options, program), daemon=True).start()
        here.recv()
        pipes[program] = here
    seen: dict[str, list[tuple[float, float, int, int]]] = {program: [] for program in pipes}
    for i in range(options.warmup + options.pairs):
        for program, pipe in pipes.items():
            pipe.send((i, False))
            seen[program].append(pipe.recv())
            time.sleep(0.02)  # threads of the last program that still spin go to sleep
    profiles = {}
    for program, pipe in pipes.items():
        pipe.send((options.warmup + options.pairs, True))
        profiles[program] = pipe.recv()
        pipe.send(None)
    timed = {program: [row[0] for row in rows[options.warmup :]] for program, rows in seen.items()}
    ratios = [a / b for a, b in zip(timed["official"], timed["anyjepa"], strict=True)]
    apart = [abs(a[1] - b[1]) for a, b in zip(seen["official"], seen["anyjepa"], strict=True)]
    return {
        "setting": asdict(SETTINGS[name]),
        "mean tokens: context, targets": [
            round(statistics.mean(row[k] for row in seen["anyjepa"][options.warmup :]), 1) for k in (2, 3)
        ],
        "median ratio of pairs, official / anyjepa": round(statistics.median(ratios), 3),
        "ratios": [round(r, 3) for r in ratios],
        "milliseconds": {
            program: {"median": round(statistics.median(v) * 1e3, 1), "best": round(min(v) * 1e3, 1)}
            for program, v in timed.items()
        },
        "profile of one step, ms": profiles,
        "losses": {program: [row[1] for row in rows[:5]] for program, rows in seen.items()},
        "largest difference of losses": max(apart),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of Eric-LRL/Brain-JEPA")
    parser.add_argument("--setting", choices=[*SETTINGS, "all"], default="all")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2, help="untimed pairs before")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor time, for busy machines"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in SETTINGS if options.setting == "all" else [options.setting]:
        result = measure(name, options)
        ratio = result["median ratio of pairs, official / anyjepa"]
        print(
            f"{name}: {result['milliseconds']}, ratio {ratio}, losses differ by {result['largest difference of losses']:.1e}"
        )
        run = {k: v for k, v in vars(options).items() if k not in ("official", "setting")}
        suffix = "-cputime" * (options.clock == "cpu")
        report.write(f"brainjepa_step-{name}{suffix}", report.machine() | {"run": run} | result)


if __name__ == "__main__":
    main()

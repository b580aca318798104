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
import multiprocessing
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import report

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
    drawn = []
    for _ in range(options.warmup + options.pairs):
        _, context, targets = collator([torch.zeros(1)] * setting.batch)
        drawn.append((context, targets))
    return drawn


def work(connection: Any, program: str, options: argparse.Namespace) -> None:
    """A process: holds one program, and runs the step it is asked for. Answers (seconds, loss), or a profile."""
    if program == "anyjepa":
        from anyjepa.training.allocator import tune_allocator

        tune_allocator()
    torch.set_num_threads(options.threads)
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, options.official)
    setting = SETTINGS[options.setting]
    official = Official(setting, options)
    held: Any = official if program == "official" else Ours(setting, official)
    drawn = draw_masks(setting, options)
    connection.send(
        [([len(c[0]) for c in context], [len(t[0]) for t in targets]) for context, targets in drawn]
    )
    while (request := connection.recv()) is not None:
        i, profiled = request
        draws = torch.Generator().manual_seed(options.seed + i)
        clips = torch.randn(setting.batch, 3, setting.frames, setting.image, setting.image, generator=draws)
        if profiled:
            connection.send(profile(held.step, clips, *drawn[i]))
            continue
        clock = time.process_time if options.clock == "cpu" else time.perf_counter
        start = clock()
        loss = held.step(clips, *drawn[i])
        connection.send((clock() - start, loss))


def profile(step: Any, *inputs: Any) -> dict[str, float]:
    """Share of the time of one step that each operator takes itself, in percent, the largest ones."""
    with torch.profiler.profile() as found:
        step(*inputs)
    spent = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    total = sum(spent.values())
    return {name: round(100 * spent[name] / total, 1) for name in sorted(spent, key=lambda n: -spent[n])[:12]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one setting."""
    spawn = multiprocessing.get_context("spawn")
    programs, pipes = ("official", "anyjepa"), {}
    for program in programs:
        here, there = spawn.Pipe()
        spawn.Process(target=work, args=(there, program, options), daemon=True).start()
        # Or a process that dies would be waited for for ever.
        there.close()
        pipes[program], lengths = here, here.recv()
    seconds: dict[str, list[float]] = {program: [] for program in programs}
    losses: dict[str, list[float]] = {program: [] for program in programs}
    total = options.warmup + options.pairs
    for i in range(total):
        for program in sorted(programs, reverse=bool(i % 2)):
            pipes[program].send((i, False))
            spent, loss = pipes[program].recv()
            seconds[program].append(spent)
            losses[program].append(loss)
        print(i, {program: round(values[-1], 3) for program, values in seconds.items()}, flush=True)
    apart = [abs(a - b) for a, b in zip(losses["official"], losses["anyjepa"], strict=True)]
    assert apart[0] < 1e-5, f"the losses of the first step differ by {apart[0]}"
    profiles = {}
    for program in programs:
        pipes[program].send((total - 1, True))
        profiles[program] = pipes[program].recv()
        pipes[program].send(None)
    timed = {program: values[options.warmup :] for program, values in seconds.items()}
    ratios = sorted(a / b for a, b in zip(timed["official"], timed["anyjepa"], strict=True))
    return {
        "setting": asdict(SETTINGS[options.setting]),
        "tokens of contexts and targets, first step": lengths[0],
        "official / anyjepa": {
            "median": round(statistics.median(ratios), 3),
            "quartiles": [round(q, 3) for q in statistics.quantiles(ratios, n=4)[::2]],
            "pairs": len(ratios),
        },
        "milliseconds": {
            program: {"median": round(statistics.median(v) * 1e3, 1), "best": round(min(v) * 1e3, 1)}
            for program, v in timed.items()
        },
        "largest difference of losses": max(apart),
        "profile of one step, %": profiles,
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--official", required=True, help="checkout of facebookresearch/jepa (CC BY-NC 4.0)")
    parser.add_argument("--setting", choices=SETTINGS, default="tiny-112")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=2, help="untimed pairs before")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time, with --threads 1"
    )
    parser.add_argument("--with-logs", action="store_true", help="time the official logs of a step too")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (Path(options.official) / "app" / "vjepa").is_dir():
        sys.exit(
            f"--official {options.official}: no app/vjepa there; expected a checkout of facebookresearch/jepa"
        )
    options.official = str(Path(options.official).resolve())
    torch.set_num_threads(options.threads)
    result = measure(options)
    run = {k: v for k, v in vars(options).items() if k != "official"}
    name = f"vjepa_step-{options.setting}" + "-cputime" * (options.clock == "cpu")
    report.write(name, report.machine() | {"run": run} | result)
    print(result)


if __name__ == "__main__":
    main()

"""One I-JEPA training step of this library against the official one: time, equal losses, share of the machine's peak.

    python benchmarks/ijepa_step.py --official ../ijepa --setting all --pairs 20

Both start from the same weights and see the same images and masks (drawn by the official collator). The two take turns, A, B,
A, B, ..., and the ratio is the median over pairs. Headline: each in a process of its own, the official code with the defaults
of its process, ours with the allocator setting that ``anyjepa pretrain`` makes. Beside it: ours without that setting, and both in
one process. A step is target, context, predictor, loss, backward, AdamW with its schedules, moving average.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

import report
from flops import flops, peak, synchronize
from programs import SETTINGS, Official, Ours, Setting
from turns import profile


def work(
    connection: Any, name: str, options: argparse.Namespace, programs: tuple[str, ...], tuned: bool
) -> None:
    """A process: holds programs, and runs one step of the one it is asked for. Answers (seconds, loss)."""
    if tuned:
        from anyjepa.training.allocator import tune_allocator

        tune_allocator()
    torch.set_num_threads(options.threads)
    report.use_official(options.official)
    setting = options.settings[name]
    official = Official(setting, options)
    held: dict[str, Any] = {"official": official}
    if "anyjepa" in programs:
        held["anyjepa"] = Ours(setting, options, official)
    if "official" not in programs:
        del held["official"], official
    drawn = draw_masks(setting, options)
    connection.send(
        [(context[0].shape[1], targets[0].shape[1], covered(targets)) for context, targets in drawn]
    )
    while (request := connection.recv()) is not None:
        program, i, profiled = request
        generator = torch.Generator().manual_seed(options.seed + i)
        images = torch.randn(setting.batch, 3, setting.image, setting.image, generator=generator)
        images = images.to(options.device)
        # Ours reads its masks on the CPU, where its own sampler draws them; moving them is part of its step.
        place = "cpu" if program == "anyjepa" else options.device
        context, targets = ([m.to(place) for m in part] for part in drawn[i])
        synchronize(options)
        if profiled:
            connection.send(profile(held[program].step, images, context, targets))
            continue
        clock = time.process_time if options.clock == "cpu" else time.perf_counter
        start = clock()
        loss = held[program].step(images, context, targets)
        synchronize(options)
        connection.send((clock() - start, loss))


def draw_masks(setting: Setting, options: argparse.Namespace) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Masks of all steps, by the official collator with the published constants."""
    from src.masks.multiblock import MaskCollator

    collator = MaskCollator(
        input_size=setting.image,
        patch_size=setting.patch,
        enc_mask_scale=(0.85, 1.0),
        pred_mask_scale=(0.15, 0.2),
        aspect_ratio=(0.75, 1.5),
        nenc=1,
        npred=4,
        min_keep=setting.min_keep,
    )
    torch.manual_seed(options.seed)
    return [collator([0] * setting.batch)[1:] for _ in range(options.warmup + options.pairs)]


def covered(targets: list[Tensor]) -> int:
    """Largest number of tokens that the target blocks of one image cover."""
    return max(len(torch.unique(row)) for row in torch.cat(targets, dim=1))


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one setting."""
    spawn = multiprocessing.get_context("spawn")
    # Processes, and in which order they take their turns: (name of the series, process, program).
    processes = {"official": (("official",), False), "tuned": (("anyjepa",), True)}
    turns = [("official", "official", "official"), ("anyjepa", "tuned", "anyjepa")]
    if not options.headline_only:
        processes |= {"default": (("anyjepa",), False), "shared": (("official", "anyjepa"), False)}
        turns += [("anyjepa, default allocator", "default", "anyjepa")]
        turns += [
            ("official, one process", "shared", "official"),
            ("anyjepa, one process", "shared", "anyjepa"),
        ]
    pipes = {}
    for label, (programs, tuned) in processes.items():
        here, there = spawn.Pipe()
        spawn.Process(target=work, args=(there, name, options, programs, tuned), daemon=True).start()
        pipes[label], shapes = here, here.recv()
    total = options.warmup + options.pairs
    seconds: dict[str, list[float]] = {series: [] for series, *_ in turns}
    losses: dict[str, list[float]] = {series: [] for series, *_ in turns}
    for i in range(total):
        for series, process, program in turns:
            pipes[process].send((program, i, False))
            spent, loss = pipes[process].recv()
            seconds[series].append(spent)
            losses[series].append(loss)
            time.sleep(0.02)  # threads of the last program that still spin go to sleep
    profiles = {}
    for series, process, program in turns[:2]:
        pipes[process].send((program, total - 1, True))
        profiles[series] = pipes[process].recv()
    for pipe in pipes.values():
        pipe.send(None)

    timed = {series: values[options.warmup :] for series, values in seconds.items()}

    def ratio(slow: str, fast: str) -> float:
        return round(statistics.median(a / b for a, b in zip(timed[slow], timed[fast], strict=True)), 3)

    ratios = {"official / anyjepa, own processes (headline)": ratio("official", "anyjepa")}
    if not options.headline_only:
        ratios["official / anyjepa without allocator setting"] = ratio(
            "official", "anyjepa, default allocator"
        )
        ratios["official / anyjepa, one process"] = ratio("official, one process", "anyjepa, one process")
    setting = options.settings[name]
    lengths = [statistics.mean(column) for column in zip(*shapes[options.warmup :], strict=True)]
    work_of = {"full": flops(setting, *lengths, pruned=False), "done": flops(setting, *lengths, pruned=True)}
    top = peak(options)
    apart = [abs(a - b) for a, b in zip(losses["official"], losses["anyjepa"], strict=True)]
    return {
        "setting": asdict(setting),
        "mean tokens: context, target block, covered": [round(n, 1) for n in lengths],
        "median ratio of pairs": ratios,
        "milliseconds": {
            series: {"median": round(statistics.median(v) * 1e3, 1), "best": round(min(v) * 1e3, 1)}
            for series, v in timed.items()
        },
        "GFLOP per step": {k: round(v / 1e9, 1) for k, v in work_of.items()},
        "peak GFLOP/s": round(top / 1e9, 1),
        "share of peak at the median": {
            "official": round(work_of["full"] / statistics.median(timed["official"]) / top, 3),
            "anyjepa, full maths": round(work_of["full"] / statistics.median(timed["anyjepa"]) / top, 3),
            "anyjepa, work done": round(work_of["done"] / statistics.median(timed["anyjepa"]) / top, 3),
        },
        "ratio if anyjepa ran at peak": round(
            statistics.median(timed["official"]) * top / work_of["done"], 3
        ),
        "profile of one step, ms": profiles,
        "losses": {series: losses[series][:5] for series in ("official", "anyjepa")},
        "largest difference of losses": {"first 5 steps": max(apart[:5]), f"{total} steps": max(apart)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of facebookresearch/ijepa")
    parser.add_argument("--setting", choices=[*SETTINGS, "all"], default="all")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3, help="untimed pairs before")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: processor time of the process, for busy machines (with --threads 1: waiting threads burn it too)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, help="another batch size than the setting's")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true", help="compile our blocks, as train.compile does")
    parser.add_argument("--peak-tflops", type=float, help="instead of a measured peak")
    parser.add_argument("--with-grad-log", action="store_true", help="time the official gradient log too")
    parser.add_argument("--headline-only", action="store_true", help="leave out the other two comparisons")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.settings = {
        name: Setting(**asdict(s) | ({"batch": options.batch} if options.batch else {}))
        for name, s in SETTINGS.items()
    }
    for name in SETTINGS if options.setting == "all" else [options.setting]:
        result = measure(name, options)
        print(f"\n{name}, batch {result['setting']['batch']}, {options.device} {options.dtype}")
        for series, figures in result["milliseconds"].items():
            print(f"  {series:<28}{figures['median']:>10.1f} ms median{figures['best']:>10.1f} ms best")
        for what in ("median ratio of pairs", "share of peak at the median", "largest difference of losses"):
            for label, value in result[what].items():
                print(f"  {label:<46}{value:>10.3g}")
        run = {k: v for k, v in vars(options).items() if k not in ("settings", "official", "setting")}
        suffix = f"-{options.device}-{options.dtype}" + "-cputime" * (options.clock == "cpu")
        suffix += f"-batch{options.batch}" * bool(options.batch)
        report.write(f"ijepa_step-{name}{suffix}", report.machine(options.device) | {"run": run} | result)


if __name__ == "__main__":
    main()

"""One T-JEPA pretraining step of this library against the official one, at the setting published for Jannis: time, and losses.

    python benchmarks/tjepa_step.py --official ../t-jepa --threads 1 --clock cpu

Both start from the same weights and see the same rows, masks and schedules, each in a process of its own; they take turns,
and the ratio is the median over pairs of steps. The library runs with ``compat=official``. A step is target, context,
predictor, loss, backward, AdamW with its schedules, moving average. ``--dropout none`` sets both rates to 0: losses are then
equal but for rounding. With the published rates each program drops what its own generator says.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import report
from ijepa_step import profile

COLUMNS, BATCH = 54, 512
DROPOUT = {"published": (0.0018542257314766695, 0.0019307456645321797), "none": (0.0, 0.0)}
"""Rates of encoder and predictor."""
EPOCHS, WARMUP, PER_EPOCH, RATE = 300, 10, 164, 3.658682841082736e-4
STEPS = EPOCHS * PER_EPOCH


def use_official(path: str) -> None:
    """Make a checkout of the official code importable, as the package ``src``."""
    if not (Path(path) / "src" / "tjepa_transformer.py").is_file():
        sys.exit(f"--official {path}: expected a checkout of jose-melo/t-jepa")
    sys.path.insert(0, path)


class Official:
    """The official models and optimizer, in a step written after the description of the method."""

    def __init__(self, options: argparse.Namespace) -> None:
        from src.encoder import Encoder
        from src.predictors import Predictors
        from src.utils.optim_utils import init_optim
        from src.utils.train_utils import init_weights

        torch.manual_seed(options.seed)
        self.done = 0
        encoder, predictor = DROPOUT[options.dropout]

        def build() -> Any:
            made = Encoder(
                list(range(COLUMNS)),
                [],
                64,
                16,
                2,
                encoder,
                1e-5,
                1.0,
                False,
                False,
                64,
                torch.device("cpu"),
                SimpleNamespace(n_cls_tokens=1, model_act_func="relu"),
            )
            for module in made.modules():
                init_weights(module, init_type="trunc_normal")
            return made

        with contextlib.redirect_stdout(io.StringIO()):
            self.encoder, self.target = build(), build()
            self.predictor = Predictors(
                "transformer",
                64,
                16,
                COLUMNS,
                16,
                4,
                predictor,
                1e-5,
                "relu",
                torch.device("cpu"),
                [],
                256,
            )
        self.target.load_state_dict(self.encoder.state_dict())
        self.optimizer, self.rate, self.decay = init_optim(
            self.encoder,
            self.predictor,
            PER_EPOCH,
            0.0,
            RATE,
            WARMUP,
            EPOCHS,
            wd=0.0,
            final_wd=0.0,
            ipe_scale=1.0,
        )

    def step(self, rows: Tensor, context: Tensor, targets: list[Tensor]) -> float:
        from src.utils.train_utils import apply_masks_from_idx

        # Once before each update: the official program leaves the first one at the rates of AdamW itself.
        self.rate.step()
        self.decay.step()
        with torch.no_grad():
            h = apply_masks_from_idx(self.target(rows), targets)
        z = self.predictor(self.encoder(rows, [context]), [context], targets)
        loss = F.mse_loss(z, h)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        momentum = 0.996 + self.done * 0.004 / STEPS
        with torch.no_grad():
            for online, moved in zip(self.encoder.parameters(), self.target.parameters(), strict=True):
                moved.data.mul_(momentum).add_((1.0 - momentum) * online.detach().data)
        self.done += 1
        return float(loss.detach())


class Ours:
    """This library's method and optimizer, as its training loop calls them, with the weights of ``official``."""

    def __init__(self, options: argparse.Namespace, official: Official) -> None:
        from anyjepa.methods.tjepa import TJEPA, TJEPAConfig
        from anyjepa.schedules import OptimConfig
        from anyjepa.training.optimizer import build_optimizer

        self.done = 0
        encoder, predictor = DROPOUT[options.dropout]
        optim = OptimConfig(
            steps=STEPS,
            warmup_steps=WARMUP * PER_EPOCH,
            start_lr=0.0,
            lr=RATE,
            final_lr=0.0,
            weight_decay=0.0,
            final_weight_decay=0.0,
        )
        self.method = TJEPA(
            TJEPAConfig(
                columns=COLUMNS, dropout=encoder, predictor_dropout=predictor, compat="official", optim=optim
            )
        )
        for module, theirs in (
            (self.method.context_encoder, official.encoder),
            (self.method.target_encoder, official.target),
            (self.method.predictor, official.predictor),
        ):
            given = theirs.state_dict()
            module.load_state_dict(renamed(given, module.state_dict()))
        self.method.train()
        self.optimizer = build_optimizer(self.method)

    def step(self, rows: Tensor, context: Tensor, targets: list[Tensor]) -> float:
        from anyjepa.contract import Batch, Masks
        from anyjepa.training.optimizer import set_schedules

        set_schedules(self.optimizer, self.method.optim, self.done + 1)
        batch = Batch(rows[:, None], torch.arange(len(rows)), step=self.done)
        loss = self.method(batch, Masks(context, torch.stack(targets, dim=1))).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(self.done)
        self.done += 1
        return float(loss.detach())


NAMES = (
    ("predictors.", ""),
    ("predictor_emb.", "embed."),
    ("predictor_norm.", "norm."),
    ("predictor_proj.", "proj."),
    ("encoder.", "trunk."),
    ("transformer.", "trunk."),
    ("trunk.transformer.", "trunk."),
    ("trunk.fc.", "trunk.linear."),
    ("trunk.layernorm1.", "trunk.norm."),
    ("trunk.layernorm2.", "trunk.norm_out."),
)
"""Beginnings of official names, and ours, changed one after the other."""


def renamed(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Official weights under our names; a template layer and an unused norm of the official modules are left out."""
    found = {}
    for name, value in theirs.items():
        for begin, new in NAMES:
            if name.startswith(begin):
                name = new + name[len(begin) :]
        found[name] = value
    if "tokenizer.weight" in found:
        # The first row of theirs is [REG].
        found["tokenizer.registers"] = found["tokenizer.weight"][:1]
        found["tokenizer.weight"] = found["tokenizer.weight"][1:]
    return {name: value for name, value in found.items() if name in ours}


def work(connection: Any, options: argparse.Namespace, program: str) -> None:
    """A process: runs one step when asked. Answers (seconds, loss, columns of the context, columns of the targets)."""
    if program == "anyjepa":
        from anyjepa.training.allocator import tune_allocator

        tune_allocator()
    torch.set_num_threads(options.threads)
    use_official(options.official)
    held: Any = Official(options)
    if program == "anyjepa":
        held = Ours(options, held)
    from anyjepa.masking.features import FeatureMaskConfig, feature_masks

    connection.send(None)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    while (request := connection.recv()) is not None:
        i, profiled = request
        masks = feature_masks(
            FeatureMaskConfig(), COLUMNS, seed=options.seed, step=i, index=range(BATCH), official=True
        )
        rows = torch.rand(BATCH, COLUMNS, generator=torch.Generator().manual_seed(options.seed + i))
        inputs = (rows, masks.context, list(masks.targets.unbind(1)))
        if profiled:
            connection.send(profile(held.step, *inputs))
            continue
        start = clock()
        loss = held.step(*inputs)
        connection.send((clock() - start, loss, masks.context.shape[1], masks.targets.shape[2]))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    spawn = multiprocessing.get_context("spawn")
    pipes = {}
    for program in ("official", "anyjepa"):
        here, there = spawn.Pipe()
        spawn.Process(target=work, args=(there, options, program), daemon=True).start()
        there.close()  # so that the end of the process is the end of the pipe
        here.recv()
        pipes[program] = here
    seen: dict[str, list[tuple[float, float, int, int]]] = {program: [] for program in pipes}
    for i in range(options.warmup + options.pairs):
        for program, pipe in pipes.items():
            pipe.send((i, False))
            seen[program].append(pipe.recv())
        print(i, *(f"{program} {rows[-1][0]:.2f} s" for program, rows in seen.items()), flush=True)
    profiles = {}
    for program, pipe in pipes.items():
        if options.profile:
            pipe.send((options.warmup + options.pairs, True))
            profiles[program] = pipe.recv()
        pipe.send(None)
    timed = {program: [row[0] for row in rows[options.warmup :]] for program, rows in seen.items()}
    ratios = [a / b for a, b in zip(timed["official"], timed["anyjepa"], strict=True)]
    apart = [abs(a[1] - b[1]) for a, b in zip(seen["official"], seen["anyjepa"], strict=True)]
    return {
        "rows": BATCH,
        "columns": COLUMNS,
        "dropout": DROPOUT[options.dropout],
        "columns in the context, and in each set of targets": [row[2:] for row in seen["anyjepa"]],
        "median ratio of pairs, official / anyjepa": round(statistics.median(ratios), 3),
        "ratios": [round(r, 3) for r in ratios],
        "milliseconds": {
            program: {"median": round(statistics.median(v) * 1e3, 1), "best": round(min(v) * 1e3, 1)}
            for program, v in timed.items()
        },
        "profile of one step, ms": profiles,
        "losses": {program: [row[1] for row in rows] for program, rows in seen.items()},
        "largest difference of losses": max(apart),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of jose-melo/t-jepa")
    parser.add_argument("--dropout", choices=[*DROPOUT], default="published")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=1, help="untimed pairs before")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for busy machines")
    parser.add_argument("--profile", action="store_true", help="also where the time of a step goes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = measure(options)
    ratio = result["median ratio of pairs, official / anyjepa"]
    print(
        f"{result['milliseconds']}, ratio {ratio}, losses differ by {result['largest difference of losses']:.1e}"
    )
    run = {k: v for k, v in vars(options).items() if k != "official"}
    suffix = "-cputime" * (options.clock == "cpu")
    report.write(f"tjepa_step-jannis-{options.dropout}{suffix}", report.machine() | {"run": run} | result)


if __name__ == "__main__":
    main()

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
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import report
from turns import Program, add_options, take_turns

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


def make(program: str, options: argparse.Namespace) -> Program:
    """A program, and what it is given."""
    use_official(options.official)
    held: Any = Official(options)
    if program == "anyjepa":
        held = Ours(options, held)
    from anyjepa.masking.features import FeatureMaskConfig, feature_masks

    def inputs(i: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        masks = feature_masks(
            FeatureMaskConfig(), COLUMNS, seed=options.seed, step=i, index=range(BATCH), official=True
        )
        rows = torch.rand(BATCH, COLUMNS, generator=torch.Generator().manual_seed(options.seed + i))
        return rows, masks.context, list(masks.targets.unbind(1))

    return Program(held.step, inputs, lambda rows, context, targets: (context.shape[1], targets[0].shape[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of jose-melo/t-jepa")
    parser.add_argument("--dropout", choices=[*DROPOUT], default="published")
    add_options(parser, pairs=8, warmup=1, threads=1)
    options = parser.parse_args()
    turns = take_turns(make, options)
    facts = {
        "rows": BATCH,
        "columns": COLUMNS,
        "dropout": DROPOUT[options.dropout],
        "columns in the context, and in each set of targets": turns.notes,
    }
    report.step(f"tjepa_step-jannis-{options.dropout}", options, facts | turns.figures())


if __name__ == "__main__":
    main()

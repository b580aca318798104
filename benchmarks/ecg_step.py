"""One ECG-JEPA training step of this library against the official one: time, equal losses, where the time goes.

    git clone https://github.com/kweimann/ECG-JEPA
    python benchmarks/ecg_step.py --official ECG-JEPA --pairs 12

Both start from the same weights and see the same recordings and masks (drawn by the official collator). Each has a process of its
own; they take turns, A, B, A, B, ..., and the ratio is the median over pairs. A step is target, context, predictor, loss,
backward, AdamW with its schedules, moving average. The official code runs as its ``pretrain.py`` runs it on a CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import report
from turns import Program, add_options, take_turns


@dataclass(frozen=True)
class Setting:
    """A published config and a batch."""

    config: str
    size: str
    batch: int


SETTINGS = {"xs": Setting("ViTXS_all", "xs", 16), "small": Setting("ViTS_all", "small", 8)}


class Official:
    """The official model and optimizer, called as in the official loop."""

    def __init__(self, setting: Setting, options: argparse.Namespace) -> None:
        import configs
        from models import JEPA

        schedules = _official_file(options, "utils/schedules.py")

        file = Path(options.official) / "configs/pretrain" / f"{setting.config}.yaml"
        c = configs.pretrain.Config(**configs.load_config_file(str(file)))
        torch.manual_seed(options.seed)
        momentum = schedules.linear_schedule(
            total_steps=c.steps, start_value=c.encoder_momentum, final_value=c.final_encoder_momentum
        )
        self.schedules = schedules
        self.model = JEPA(config=c, momentum_schedule=momentum, use_sdp_kernel=options.official_sdpa)
        self.optimizer = self.model.get_optimizer(fused=options.official_fused)
        self.rate = schedules.cosine_schedule(
            total_steps=c.steps,
            start_value=c.learning_rate,
            final_value=c.final_learning_rate,
            warmup_steps=c.learning_rate_warmup_steps,
            warmup_start_value=1e-6,
        )
        self.decay = schedules.cosine_schedule(
            total_steps=c.steps, start_value=c.weight_decay, final_value=c.final_weight_decay
        )

    def step(self, x: Tensor, context: Tensor, targets: Tensor) -> float:
        self.schedules.update_learning_rate_(self.optimizer, next(self.rate))
        self.schedules.update_weight_decay_(self.optimizer, next(self.decay))
        loss = self.model(x, context, targets)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


class Ours:
    """This library's method and optimizer, as its training loop calls them, with the weights of ``official``."""

    def __init__(self, setting: Setting, official: Official) -> None:
        import anyjepa
        from anyjepa.training.optimizer import build_optimizer

        self.method, self.done = anyjepa.create("ecg-jepa", size=setting.size, compat="official").train(), 0
        self.method.load_state_dict(to_ours(official.model.state_dict()), strict=False)
        self.optimizer = build_optimizer(self.method)

    def step(self, x: Tensor, context: Tensor, targets: Tensor) -> float:
        from anyjepa.contract import Batch, Masks
        from anyjepa.training.optimizer import set_schedules

        set_schedules(self.optimizer, self.method.optim, self.done + 1)
        batch = Batch(x, torch.arange(len(x)), step=self.done)
        loss = self.method(batch, Masks(context, targets[:, None])).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(self.done)
        self.done += 1
        return loss.item()


def to_ours(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Official weights under our names."""
    names = (("target_encoder.", "target.copy."), ("encoder.", "context_encoder."))
    found = {}
    for name, value in theirs.items():
        for old, new in names:
            if name.startswith(old):
                name = new + name.removeprefix(old).replace("patch_embed", "tokenizer")
                break
        if name.endswith("registers"):
            value = value[0]
        found[name] = value.flatten(1) if value.ndim == 3 and "tokenizer" in name else value
    return found


def _official_file(options: argparse.Namespace, name: str) -> Any:
    """One file of the official code: its packages ask for readers and monitors that are not needed here."""
    path = Path(options.official) / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(program: str, options: argparse.Namespace) -> Program:
    """A program, and what it is given."""
    sys.path.insert(0, options.official)
    import numpy as np

    MaskCollator = _official_file(options, "data/masks.py").MaskCollator  # noqa: N806
    setting = SETTINGS[options.setting]
    collator = MaskCollator(patch_size=25, min_block_size=10, min_keep_ratio=0.15, max_keep_ratio=0.25)
    np.random.seed(options.seed)
    total = options.warmup + options.pairs + 1
    drawn = [collator([torch.zeros(12, 5000)] * setting.batch)[1:] for _ in range(total)]
    official = Official(setting, options)
    held: Any = official if program == "official" else Ours(setting, official)

    def inputs(i: int) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.randn(setting.batch, 12, 5000, generator=torch.Generator().manual_seed(options.seed + i))
        return x, *drawn[i]

    return Program(held.step, inputs, lambda x, context, targets: context.shape[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of kweimann/ECG-JEPA")
    parser.add_argument("--setting", choices=SETTINGS, default="xs")
    add_options(parser, pairs=12, warmup=3)
    parser.add_argument(
        "--official-sdpa", action="store_true", help="the attention that the official code uses on a GPU"
    )
    parser.add_argument("--official-fused", action="store_true", help="the optimizer that it uses there")
    options = parser.parse_args()
    options.official = str(Path(options.official).resolve())
    if not (Path(options.official) / "models" / "JEPA.py").is_file():
        sys.exit(
            f"--official {options.official}: no models/JEPA.py there; expected a checkout of kweimann/ECG-JEPA"
        )
    turns = take_turns(make, options)
    facts = {
        "setting": asdict(SETTINGS[options.setting]) | {"leads": 12, "samples": 5000},
        "mean visible tokens of 200": round(statistics.mean(turns.notes), 1),
    }
    name = f"ecg_step-{options.setting}" + "-gpu-kernels" * options.official_sdpa
    report.step(name, options, facts | turns.figures())


if __name__ == "__main__":
    main()

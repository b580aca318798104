"""Time of a whole training step of seq-JEPA against the official one, at equal weights, views and actions.

    git clone https://github.com/hafezgh/seq-jepa
    python benchmarks/seq_jepa_step.py --official seq-jepa/seq-jepa --setting rotation-64 --threads 1 --clock cpu

The official code (MIT) is run; nothing of it is here. The programs take turns, one step each, in one process; the ratio is the
median over pairs of steps. With dropout off in both the losses of the first step must agree to 1e-4. The official models are
built on torchvision; where that is not installed, its one network that is needed is stood in for by plain PyTorch modules of the
same shapes, in the default memory layout, as torchvision has it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import anyjepa
from anyjepa.bundle import Bundle
from anyjepa.contract import Batch
from anyjepa.nn.resnet import ResNet
from anyjepa.training.allocator import tune_allocator
from anyjepa.training.optimizer import build_optimizer, set_schedules

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Setting:
    """Shapes of one comparison."""

    side: int
    batch: int
    observed: int
    actions: int
    small: bool


SETTINGS = {
    "rotation-128": Setting(128, 16, 3, 4, small=False),
    "rotation-64": Setting(64, 8, 3, 4, small=False),
    "augmentation-32": Setting(32, 8, 2, 9, small=True),
}


class Pooled(ResNet):
    """ResNet-18 with a pooled end and a last layer, as torchvision's."""

    def __init__(self) -> None:
        super().__init__(3, (64, 128, 256, 512), (2, 2, 2, 2), "standard")
        self.fc: nn.Module = nn.Linear(512, 1000)

    def forward(self, x: Tensor, layer: int = -1) -> Tensor:
        return self.fc(super().forward(x, layer).mean(dim=(2, 3)))


def stand_in() -> None:
    """Make ``import torchvision`` work for the one call that the official models make of it."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        found, models = ModuleType("torchvision"), ModuleType("torchvision.models")

        def resnet18(**_: Any) -> Pooled:
            made = Pooled()
            made.initialise(zero_last=True)
            return made

        models.resnet18 = resnet18  # type: ignore[attr-defined]
        found.models = models  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": found, "torchvision.models": models}


class Official:
    """The official model and a step as its training loop makes it."""

    def __init__(self, setting: Setting, seed: int) -> None:
        import models  # type: ignore[import-not-found]

        torch.manual_seed(seed)
        self.model = models.SeqJEPA_Transforms(
            setting.side,
            True,
            n_channels=3,
            num_classes=10,
            num_heads=4,
            num_enc_layers=3,
            learn_act_emb=1,
            act_cond=1,
            cifar_resnet=int(setting.small),
            act_latentdim=setting.actions,
            act_projdim=128,
            pred_hidden=1024,
        )
        _quiet(self.model)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=1e-3)

    def step(self, views: Tensor, actions: Tensor) -> float:
        self.optimizer.zero_grad()
        absolute = torch.cat((torch.zeros_like(actions[:, :1]), actions.cumsum(dim=1)), dim=1)
        loss, *_ = self.model(views[:, :-1], views[:, -1], absolute[:, :-1], absolute[:, -1], actions.clone())
        loss.backward()
        self.optimizer.step()
        self.model.update_moving_average()
        return loss.item()


class Ours:
    """This library's method and optimizer, as its training loop calls them, with the weights of ``official``."""

    def __init__(self, setting: Setting, official: nn.Module) -> None:
        self.method = anyjepa.create(
            "seq-jepa",
            size="base",
            image_size=[setting.side, setting.side],
            action_dim=setting.actions,
            stem="small" if setting.small else "standard",
            dropout=0.0,
            optim=dict(
                steps=1000, warmup_steps=0, lr=1e-4, final_lr=1e-4, weight_decay=1e-3, final_weight_decay=1e-3
            ),
        ).train()
        missing, extra = self.method.load_state_dict(to_ours(official.state_dict()), strict=False)
        assert not extra and not [name for name in missing if "fc" not in name], (missing, extra)
        self.optimizer, self.done = build_optimizer(self.method), 0

    def step(self, views: Tensor, actions: Tensor) -> float:
        set_schedules(self.optimizer, self.method.optim, self.done + 1)
        loss = self.method(
            Batch(Bundle({"views": views, "actions": actions}), torch.arange(len(views)), self.done)
        ).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(self.done)
        self.done += 1
        return loss.item()


def to_ours(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Official weights under our names."""
    starts = {
        "target_encoder.": "target.copy.",
        "encoder.": "encoder.",
        "action_proj.0.": "action_projector.linear.",
        "action_proj.1.": "action_projector.norm.",
        "agg_token": "aggregator.token",
        "transformer_encoder.transformer_encoder.layers.": "aggregator.layers.",
        "transformer_encoder.norm.": "aggregator.norm.",
        "predictor.0.": "predictor.first.",
        "predictor.1.": "predictor.norm.",
        "predictor.3.": "predictor.last.",
    }
    found = {}
    for name, value in theirs.items():
        start = next(s for s in starts if name.startswith(s))
        found[starts[start] + name.removeprefix(start)] = value.clone()
    return found


def _quiet(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0


def profile(step: Any, *inputs: Tensor) -> dict[str, float]:
    """Milliseconds that one step spends in each operator itself, the longest ones."""
    with torch.profiler.profile() as found:
        step(*inputs)
    spent = {event.key: event.self_cpu_time_total / 1e3 for event in found.key_averages()}
    longest = sorted(spent, key=lambda name: -spent[name])[:10]
    shares = {name: round(spent[name], 1) for name in longest}
    return shares | {"all others": round(sum(spent.values()) - sum(shares.values()), 1)}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one setting."""
    setting = SETTINGS[name]
    official = Official(setting, options.seed)
    programs = {"official": official, "anyjepa": Ours(setting, official.model)}
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {program: [] for program in programs}
    losses: dict[str, list[float]] = {program: [] for program in programs}
    for i in range(options.warmup + options.pairs):
        draws = torch.Generator().manual_seed(options.seed + i)
        views = torch.randn(
            setting.batch, setting.observed + 1, 3, setting.side, setting.side, generator=draws
        )
        actions = torch.randn(setting.batch, setting.observed, setting.actions, generator=draws)
        for program in sorted(programs, reverse=bool(i % 2)):
            start = clock()
            loss = programs[program].step(views, actions)  # type: ignore[attr-defined]
            seconds[program].append(clock() - start)
            losses[program].append(loss)
        print(i, {program: round(values[-1], 3) for program, values in seconds.items()}, flush=True)
    apart = abs(losses["official"][0] - losses["anyjepa"][0])
    assert apart < 1e-4, f"the losses of the first step differ by {apart}"
    timed = {program: values[options.warmup :] for program, values in seconds.items()}
    ratios = [a / b for a, b in zip(timed["official"], timed["anyjepa"], strict=True)]
    return {
        "setting": asdict(setting),
        "official / anyjepa": {
            "median ratio of pairs": round(statistics.median(ratios), 3),
            "least, most": [round(min(ratios), 3), round(max(ratios), 3)],
            "pairs": len(ratios),
        },
        "milliseconds": {
            program: {"median": round(statistics.median(v) * 1e3, 1), "best": round(min(v) * 1e3, 1)}
            for program, v in timed.items()
        },
        "losses of the first step apart": apart,
        "profile of one step, ms": {
            name: profile(held.step, views, actions) for name, held in programs.items()
        },  # type: ignore[attr-defined]
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--official", required=True, help="the directory that holds src/ of the official code"
    )
    parser.add_argument("--setting", choices=SETTINGS, default="rotation-128")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tune_allocator()
    if options.threads:
        torch.set_num_threads(options.threads)
    stand_in()
    sys.path.insert(0, str(Path(options.official) / "src"))
    found = measure(options.setting, options)
    found |= {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "clock": options.clock,
    }
    text = json.dumps(found, indent=1)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"seq_jepa_step-{options.setting}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

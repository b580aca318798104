"""Time of a whole training step of seq-JEPA against the official one, at equal weights, views and actions.

    git clone https://github.com/hafezgh/seq-jepa
    python benchmarks/seq_jepa_step.py --official seq-jepa/seq-jepa --setting rotation-64 --threads 1 --clock cpu

The official code (MIT) is run; nothing of it is here. Each program has a process of its own; they take turns, and the ratio is
the median over pairs of steps. With dropout off in both the losses of the first step must agree to 1e-4. The official models are
built on torchvision; where that is not installed, its one network that is needed is stood in for by plain PyTorch modules of the
same shapes, in the default memory layout, as torchvision has it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import anyjepa
import report
from anyjepa.bundle import Bundle
from anyjepa.contract import Batch
from anyjepa.nn.resnet import ResNet
from anyjepa.training.optimizer import build_optimizer, set_schedules
from turns import Program, add_options, take_turns


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
        "encoder.": "context_encoder.",
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


def make(program: str, options: argparse.Namespace) -> Program:
    """A program, and what it is given."""
    stand_in()
    sys.path.insert(0, str(Path(options.official) / "src"))
    setting = SETTINGS[options.setting]
    official = Official(setting, options.seed)
    held: Any = official if program == "official" else Ours(setting, official.model)

    def inputs(i: int) -> tuple[Tensor, Tensor]:
        draws = torch.Generator().manual_seed(options.seed + i)
        views = torch.randn(
            setting.batch, setting.observed + 1, 3, setting.side, setting.side, generator=draws
        )
        return views, torch.randn(setting.batch, setting.observed, setting.actions, generator=draws)

    return Program(held.step, inputs)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--official", required=True, help="the directory that holds src/ of the official code"
    )
    parser.add_argument("--setting", choices=SETTINGS, default="rotation-128")
    add_options(parser, pairs=10)
    options = parser.parse_args()
    figures = take_turns(make, options).figures()
    apart = figures["largest difference of losses"]["first step"]
    assert apart < 1e-4, f"the losses of the first step differ by {apart}"
    report.step(
        f"seq_jepa_step-{options.setting}", options, {"setting": asdict(SETTINGS[options.setting])} | figures
    )


if __name__ == "__main__":
    main()

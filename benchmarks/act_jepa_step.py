"""Time of a training step of ACT-JEPA beside the official code, at equal shapes and weights, in turns.

    python benchmarks/act_jepa_step.py --official CHECKOUT [--batch 16] [--pairs 5] [--clock cpu]

CHECKOUT is a copy of the official repository at its first release ("init codebase"). It needs transformers and einops; its
ResNet-18 starts at random here, nothing is downloaded. Both have the same weights, which is checked: their losses must agree
without dropout. A step is forward, backward, clipping, AdamW (fused in both) and the moving average.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

import report
from anyjepa import create
from anyjepa.bundle import Bundle
from anyjepa.contract import Batch
from anyjepa.methods.act_jepa import ACTJEPAConfig
from anyjepa.nn.resnet import from_transformers
from turns import Program, add_options, take_turns

HORIZON = 30


def official(checkout: Path) -> Any:
    """Their model in the setting of configs/pusht/act-jepa.yaml."""
    import transformers

    transformers.ResNetModel.from_pretrained = classmethod(
        lambda cls, name: cls(
            transformers.ResNetConfig(
                embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic"
            )
        )
    )
    sys.path.insert(0, str(checkout))
    from models.act_jepa import ActJepaConfig, ActJepaModel

    horizon = {"observation.image": 1, "observation.state": HORIZON, "action": HORIZON}
    common = {
        "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 8, "hidden_act": "relu",
        "attention_dropout": 0.1, "horizon": horizon,
    }  # fmt: skip
    narrow = common | {"hidden_size": 128, "intermediate_size": 512, "causal": False}
    config = ActJepaConfig(
        action_dim=2, state_dim=2, encoder=common, target_encoder=common | {"causal": False}, predictor=narrow,
        decoder=common | {"num_hidden_layers": 1, "causal": False}, horizon=horizon,
    )  # fmt: skip
    return ActJepaModel(config)


def as_ours(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Their weights by our names."""
    found: dict[str, torch.Tensor] = {}
    for side, mine in (("jepa.context_encoder", "context_encoder"), ("jepa.target_encoder", "target.copy")):
        image = {
            name.removeprefix(f"{side}.img_emb."): value
            for name, value in theirs.items()
            if name.startswith(f"{side}.img_emb.")
        }
        found |= {f"{mine}.trunk.{name}": value for name, value in from_transformers(image).items()}
    replaced = (
        ("self_attn.attention_interface.in_proj_", "own.qkv."), ("self_attn.attention_interface.out_proj.", "own.proj."),
        ("cross_attn.attention_interface.in_proj_", "cross.qkv."), ("cross_attn.attention_interface.out_proj.", "cross.proj."),
        ("mlp.up_proj.", "up."), ("mlp.down_proj.", "down."), ("img_proj.", "image."), ("task_emb.", "task."),
        ("state_emb.", "state."), ("jepa.context_encoder.", "context_encoder."), ("jepa.target_encoder.", "target.copy."),
        ("jepa.predictor.", "predictor."), ("action_head.", "head."), ("pos_emb", "queries"), ("in_proj.", "enter."),
        ("out_proj.", "leave."),
    )  # fmt: skip
    for name, value in theirs.items():
        if ".img_emb." in name:
            continue
        new = name
        # The norm after the mlp is the last of a layer: the second of two, or the third of three.
        crossed = any(part in name for part in ("predictor.layers", "decoder.layers"))
        for old, other in replaced:
            new = new.replace(old, other)
        norms = {
            ".norm1.": ".own_norm.",
            ".norm2.": ".cross_norm." if crossed else ".norm.",
            ".norm3.": ".norm.",
        }
        if ".layers." in new:
            for old, other in norms.items():
                new = new.replace(old, other)
        found[new] = value
    return found


def pair(checkout: Path) -> tuple[Any, Any]:
    """Their model and ours, with the same weights."""
    torch.manual_seed(0)
    theirs = official(checkout)
    ours = create("act-jepa", ACTJEPAConfig(compat="official"))
    missing = ours.load_state_dict(as_ours(theirs.state_dict()), strict=False)
    assert not missing.missing_keys and not missing.unexpected_keys, missing
    return theirs, ours


def sample(options: argparse.Namespace, i: int) -> tuple[Batch, dict[str, torch.Tensor]]:
    """The batch of a step as we take it and as they do."""
    b, draws = options.batch, torch.Generator().manual_seed(options.seed + i)
    state, action = (torch.randn(b, HORIZON, 2, generator=draws) for _ in range(2))
    image = torch.rand(b, 3, 96, 96, generator=draws)
    pad = torch.arange(HORIZON)[None] >= torch.randint(5, HORIZON + 1, (b, 1), generator=draws)
    parts = Bundle(
        {
            "state": state, "state_pad": pad.float(), "action": action, "action_pad": pad.float(),
            "task": torch.zeros(b, 1), "image": image,
        }
    )  # fmt: skip
    inputs = {
        "observation.state": state, "observation.state_is_pad": pad, "action_is_pad": pad, "observation.image": image,
        "task_index": torch.zeros(b, dtype=torch.long), "labels": action,
    }  # fmt: skip
    return Batch(parts, torch.arange(b), i), inputs


@torch.no_grad()
def agreement(options: argparse.Namespace) -> dict[str, Any]:
    """Losses and outputs of both without dropout."""
    theirs, ours = pair(options.official)
    batch, inputs = sample(options, 0)
    mine, other = ours.eval()(batch), theirs.eval()(**inputs)
    inside = ~inputs["observation.state_is_pad"]
    found = {
        "loss": [mine.loss.item(), other["loss"].item()],
        "targets": (mine.target[:, 0] - other["abstract_labels"])[inside].abs().max().item(),
        "context": (mine.context - other["encoder_hidden_states"]).abs().max().item(),
    }
    assert abs(found["loss"][0] - found["loss"][1]) < 1e-4, f"the two do not compute the same: {found}"
    return found


def make(program: str, options: argparse.Namespace) -> Program:
    """A program, and what it is given."""
    theirs, ours = pair(options.official)
    model = (ours if program == "anyjepa" else theirs).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)

    def step(batch: Batch, inputs: dict[str, torch.Tensor]) -> float:
        loss = model(batch).loss if program == "anyjepa" else model(**inputs)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.after_step(0) if program == "anyjepa" else model.update_target_encoder(0.996)
        return loss.item()

    return Program(step, lambda i: sample(options, i))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--official", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=16)
    add_options(parser, pairs=5, threads=1)
    options = parser.parse_args()
    facts = {"batch": options.batch, "horizon": HORIZON, "agreement": agreement(options)}
    report.step("act_jepa_step", options, facts | take_turns(make, options).figures())


if __name__ == "__main__":
    main()

"""Time of a training step of ACT-JEPA beside the official code, at equal shapes and weights, in turns.

    python benchmarks/act_jepa_step.py --official CHECKOUT [--batch 16] [--pairs 5] [--profile]

CHECKOUT is a copy of the official repository at its first release ("init codebase"). It needs transformers and einops; its
ResNet-18 starts at random here, nothing is downloaded. Both have the same weights, which is checked: their losses must agree.
A step is forward, backward, clipping, AdamW (fused in both) and the moving average.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from anyjepa import create
from anyjepa.bundle import Bundle
from anyjepa.contract import Batch
from anyjepa.methods.act_jepa import ACTJEPAConfig
from anyjepa.nn.resnet import from_transformers
from anyjepa.training.run_dir import write_whole

RESULTS = Path(__file__).parent / "results" / "act_jepa_step.json"
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--official", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    theirs = official(args.official).train()
    ours = create("act-jepa", ACTJEPAConfig(compat="official"))
    missing = ours.load_state_dict(as_ours(theirs.state_dict()), strict=False)
    assert not missing.missing_keys and not missing.unexpected_keys, missing
    b = args.batch
    state, action = torch.randn(b, HORIZON, 2), torch.randn(b, HORIZON, 2)
    image, pad = (
        torch.rand(b, 3, 96, 96),
        torch.arange(HORIZON)[None] >= torch.randint(5, HORIZON + 1, (b, 1)),
    )
    parts = Bundle(
        {
            "state": state, "state_pad": pad.float(), "action": action, "action_pad": pad.float(),
            "task": torch.zeros(b, 1), "image": image,
        }
    )  # fmt: skip
    batch = Batch(parts, torch.arange(b))
    inputs = {
        "observation.state": state, "observation.state_is_pad": pad, "action_is_pad": pad, "observation.image": image,
        "task_index": torch.zeros(b, dtype=torch.long), "labels": action,
    }  # fmt: skip
    ours.eval(), theirs.eval()
    with torch.no_grad():
        mine, other = ours(batch), theirs(**inputs)
    agreement = {
        "loss": [mine.loss.item(), other["loss"].item()],
        "targets": (mine.target[:, 0] - other["abstract_labels"])[~pad].abs().max().item(),
        "context": (mine.context - other["encoder_hidden_states"]).abs().max().item(),
    }
    print(json.dumps(agreement))
    assert abs(agreement["loss"][0] - agreement["loss"][1]) < 1e-4, "the two do not compute the same"
    ours.train(), theirs.train()
    groups = {
        "ours": torch.optim.AdamW([p for p in ours.parameters() if p.requires_grad], lr=1e-5, fused=True),
        "official": torch.optim.AdamW(
            [p for p in theirs.parameters() if p.requires_grad], lr=1e-5, fused=True
        ),
    }

    def step(which: str) -> float:
        began, optimizer = time.process_time(), groups[which]
        model = ours if which == "ours" else theirs
        loss = ours(batch).loss if which == "ours" else theirs(**inputs)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ours.after_step(0) if which == "ours" else theirs.update_target_encoder(0.996)
        return time.process_time() - began

    step("ours"), step("official")
    seconds: dict[str, list[float]] = {"ours": [], "official": []}
    for i in range(args.pairs):
        for which in ("ours", "official") if i % 2 == 0 else ("official", "ours"):
            seconds[which].append(step(which))
    middle = {which: statistics.median(values) for which, values in seconds.items()}
    found = {
        "clock": "CPU time of one thread", "batch": b, "seconds": seconds, "median": middle,
        "ratio": middle["official"] / middle["ours"], "agreement": agreement, "torch": torch.__version__,
    }  # fmt: skip
    print(json.dumps({"median": middle, "ratio": found["ratio"]}))
    if args.profile:
        found["profile"] = {}
        for which in seconds:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                step(which)
            table = sorted(profile.key_averages(), key=lambda e: -e.self_cpu_time_total)[:14]
            found["profile"][which] = {e.key: round(e.self_cpu_time_total / 1e6, 4) for e in table}
        print(json.dumps(found["profile"], indent=1))
    write_whole(RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""ACT-JEPA beside ACT and behaviour cloning: the same data, steps, batches, widths and seeds, scored on held-out episodes.

    python benchmarks/act_jepa.py train --work runs --pusht pusht.npz          # trains and scores; goes on where it was stopped
    python benchmarks/act_jepa.py rollout --work runs --episodes 17            # 17 episodes of each of the 3 seeds
    python benchmarks/act_jepa.py table

``pusht.npz`` is what ``anyjepa demonstrate pusht --episodes 200`` writes; ``pusht-keypoints.npz`` beside it the same for that
world, ``reach2d.npz`` what ``anyjepa demonstrate reach2d --episodes 100`` does; the other data are robot-adroit-door and
robot-mujoco-expert below the variable ANYJEPA_DATA. Results go to benchmarks/results/act_jepa.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

import anyjepa
from anyjepa.data.episodes_config import EpisodesConfig
from anyjepa.data.modalities import modality
from anyjepa.evaluation.future import FutureConfig
from anyjepa.evaluation.probe_future import probe_future
from anyjepa.registry import entry
from anyjepa.schedules import OptimConfig
from anyjepa.training import RunConfig, TrainConfig
from anyjepa.training.run_dir import write_whole

RESULTS = Path(__file__).parent / "results" / "act_jepa.json"
ARMS = {
    "act-jepa": ("act-jepa", {}),
    "act-jepa without L_obs": ("act-jepa", {"state_weight": 0.0}),
    "act": ("act", {}),
    "mlp": ("mlp-policy", {}),
}
"""The second is the first without its second loss: the same network, the ACT of the paper's tables."""
DATA = {
    # name: (path, world, episodes to train on, episodes to score on, options)
    "door": ("robot-adroit-door/door-v0_demos.npz", "adroit-door", ":20", "20:", {}),
    "halfcheetah": ("robot-mujoco-expert/HalfCheetah-v2.npz", "halfcheetah", ":1", "1:", {}),
    "hopper": ("robot-mujoco-expert/Hopper-v2.npz", "hopper", ":1", "1:", {}),
    "pusht": (None, "pusht", ":180", "180:", {"size": (48, 48)}),
    "pusht-keypoints": (None, "pusht-keypoints", ":180", "180:", {}),
    "reach2d": (None, "reach2d", ":80", "80:100", {}),
}
CHUNK = 16
PROBE = FutureConfig(steps=150, batch_size=64, depth=2, frames=1500)


def place(name: str, pusht: Path) -> str:
    """Where some data are."""
    relative = DATA[name][0]
    if relative is None:
        return str(pusht.with_name(f"{name}.npz"))
    return str(Path(os.environ["ANYJEPA_DATA"]) / relative)


def place_of_run(work: Path, name: str, arm: str, seed: int, steps: int) -> Path:
    """Where a run is."""
    return work / f"{name}-{arm.replace(' ', '-')}-{seed}-{steps}"


def train(name: str, arm: str, seed: int, steps: int, batch: int, work: Path, pusht: Path) -> Path:
    """One run; nothing where it is there."""
    run = place_of_run(work, name, arm, seed, steps)
    if (run / "done").is_file():
        return run
    method, fields = ARMS[arm]
    optim = OptimConfig(
        steps=steps, warmup_steps=steps // 25, start_lr=0.0, lr=6e-4, final_lr=0.0, weight_decay=0.1,
        final_weight_decay=0.1, clip=1.0,
    )  # fmt: skip
    config = RunConfig(
        method=method,
        data=place(name, pusht),
        out=str(run),
        model=entry(method).config(size="nano", seed=seed, optim=optim, **fields),
        train=TrainConfig(seed=seed, batch_size=batch, workers=0, accelerator="cpu", log_every=50),
        reading=EpisodesConfig(actions=CHUNK, states=CHUNK, episodes=DATA[name][2], **DATA[name][4]),
    )
    anyjepa.pretrain(config, overwrite=True)
    (run / "done").touch()
    return run


@torch.no_grad()
def held_out(run: Path, name: str, pusht: Path) -> dict[str, float]:
    """Errors of the actions on held-out episodes, in scaled units; ``first`` is of the first action alone."""
    loaded = anyjepa.hub.load.read(run)
    kind = modality("episodes")
    reading = kind.suit(
        replace(loaded.reading, episodes=DATA[name][3], limit=1500), loaded.method.input_shape()
    )
    data = kind.dataset(kind.open(place(name, pusht), reading), reading)
    errors, valid = [], []
    for start in range(0, len(data), 250):
        rows = np.arange(start, min(start + 250, len(data)))
        parts = data.sequences(rows)
        errors.append(loaded.method.eval().actions(data.evaluation(rows)) - parts["action"])
        valid.append(parts["action_pad"] < 0.5)
    error, inside = torch.cat(errors), torch.cat(valid)
    kept = error[inside]
    return {
        "l1": kept.abs().mean().item(),
        "rmse": kept.square().mean().sqrt().item(),
        "first": error[:, 0].abs().mean().item(),
        "frames": len(error),
    }


def rows() -> list[dict]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def keep(row: dict) -> None:
    """Write a row; one of the same run is replaced."""
    key = ("data", "arm", "seed", "steps")
    others = [r for r in rows() if any(r[k] != row[k] for k in key)]
    write_whole(RESULTS, json.dumps([*others, row], indent=1) + "\n")


def training(args: argparse.Namespace) -> None:
    for name in args.data:
        for seed in args.seeds:
            for arm in args.arms:
                asked = (name, arm, seed, args.steps)
                if any((r["data"], r["arm"], r["seed"], r["steps"]) == asked for r in rows()):
                    continue
                began = time.process_time()
                run = train(name, arm, seed, args.steps, args.batch, args.work, args.pusht)
                trained = time.process_time() - began
                path = place(name, args.pusht)
                probed = probe_future(
                    [run], path, path, what="states", config=PROBE, seeds=[seed],
                    read={"episodes": DATA[name][2]}, read_test={"episodes": DATA[name][3]},
                    baselines=arm == "act-jepa" and seed == args.seeds[0],
                )  # fmt: skip
                scores = {
                    r.features: {**asdict(r.score), "by_step": [round(v, 4) for v in r.score.by_step]}
                    for r in probed.rows
                }
                method = anyjepa.load(run)
                row = {
                    "data": name, "arm": arm, "seed": seed, "steps": args.steps, "batch": args.batch, "chunk": CHUNK,
                    "parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
                    "cpu_seconds": round(trained, 1),
                    "actions": held_out(run, name, args.pusht),
                    "states": scores,
                }  # fmt: skip
                keep(row)
                print(
                    name,
                    arm,
                    seed,
                    row["cpu_seconds"],
                    row["actions"],
                    scores["pretrained"]["rmse"],
                    flush=True,
                )


def rollouts(args: argparse.Namespace) -> None:
    from anyjepa.policies import load_policy
    from anyjepa.rollout.evaluate import evaluate

    for seed in args.seeds:
        for row in rows():
            if (
                (row["seed"], row["steps"]) != (seed, args.steps)
                or row["data"] not in args.data
                or row["arm"] not in args.arms
                or "rollout" in row
            ):
                continue
            run = place_of_run(args.work, row["data"], row["arm"], seed, args.steps)
            policy = load_policy(run, horizon=args.horizon)
            found = evaluate(
                policy, DATA[row["data"]][1], episodes=args.episodes, seeds=[seed], max_steps=args.max_steps
            )
            keep(row | {"rollout": {
                "horizon": args.horizon or CHUNK,
                "success": [e.success for e in found.episodes],
                "return": [round(e.total, 3) for e in found.episodes],
                "measure": [None if e.measure is None else round(e.measure, 4) for e in found.episodes],
            }})  # fmt: skip
            print(row["data"], row["arm"], seed, found, flush=True)


def table(args: argparse.Namespace) -> None:
    """Mean and standard deviation over the seeds."""

    def cell(values: list[float], digits: int = 3) -> str:
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{spread}" if values else "-"

    print(
        "| data | steps | policy | parameters | action L1 | action RMSE | state RMSE | state ATE | success | return | measure |"
    )
    print("|" + "---|" * 11)
    for name, steps in sorted({(r["data"], r["steps"]) for r in rows()}):
        here = [r for r in rows() if (r["data"], r["steps"]) == (name, steps)]
        for arm in ARMS:
            found = [r for r in here if r["arm"] == arm]
            if not found:
                continue
            states = [r["states"]["pretrained"] for r in found]
            played = [r["rollout"] for r in found if "rollout" in r]
            judged = [s for p in played for s in p["success"] if s is not None]
            returns = [float(np.mean(p["return"])) for p in played]
            measures = [float(np.mean(p["measure"])) for p in played if None not in p["measure"]]
            print(
                f"| {name} | {steps} | {arm} | {found[0]['parameters']} | {cell([r['actions']['l1'] for r in found])} | "
                f"{cell([r['actions']['rmse'] for r in found])} | {cell([s['rmse'] for s in states])} | "
                f"{cell([s['ate'] for s in states])} | {f'{sum(judged)} of {len(judged)}' if judged else '-'} | "
                f"{cell(returns, 1)} | {cell(measures)} |"
            )
        for features in ("untrained", "state", "still"):
            read = [r["states"][features] for r in here if features in r["states"]]
            if read:
                rmse, ate = (cell([s[key] for s in read]) for key in ("rmse", "ate"))
                print(f"| {name} | {steps} | *{features}* | | | | {rmse} | {ate} | | | |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("train", "rollout", "table"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--pusht", type=Path, default=Path("pusht.npz"))
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=17)
    parser.add_argument("--horizon", type=int, default=8)
    parser.add_argument("--max-steps", type=int)
    args = parser.parse_args()
    {"train": training, "rollout": rollouts, "table": table}[args.do](args)


if __name__ == "__main__":
    main()

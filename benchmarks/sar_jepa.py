"""SAR-JEPA on SAR-ACD: gradients by ratio against other targets, few labels, clean splits, speckle at test.

    python benchmarks/sar_jepa.py split --data DATA/sar-acd/images.tar --out benchmarks/results/sar_jepa.jsonl
    python benchmarks/sar_jepa.py pretrain --data ... --out ... --work runs/sar --arm gradient-ratio --seed 0
    python benchmarks/sar_jepa.py finetune --data ... --out ... --work runs/sar --arm gradient-ratio --seed 0
    python benchmarks/sar_jepa.py cost --out ...

The chips were augmented before they were published. They are clustered by near copies and split by cluster, another split for
each seed: one half is pretrained on without labels, and labels are drawn from it; the other half is the test. Arms share encoder,
predictor, windows, order of samples and steps; ``ema`` predicts the output of a moving average, as I-JEPA does, ``scratch`` is
not pretrained. A row that is in the file already is not computed again.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import anyjepa
from anyjepa.contract import Batch, Method
from anyjepa.data.modalities import modality
from anyjepa.data.near_duplicates import closest, near_duplicates, thumbnails
from anyjepa.data.radar import RadarConfig, RadarDataset
from anyjepa.evaluation.budgets import Budget
from anyjepa.evaluation.finetune import FinetuneConfig, fit_finetune
from anyjepa.evaluation.linear import fit_linear
from anyjepa.evaluation.samples import Samples
from anyjepa.objectives.gradient_ratio import gradient_ratio
from anyjepa.randomness import derive_seed, permutation
from anyjepa.training.optimizer import build_optimizer, set_schedules

RADAR = modality("radar")
ARMS: dict[str, dict[str, Any]] = {
    "gradient-ratio": {},
    "pixels": {"features": {"kind": "pixels"}},
    "normalised-pixels": {"features": {"kind": "normalised-pixels"}},
    "single-scale": {"features": {"radii": [5]}},
    "ema": {"target": "ema", "ema": [0.99, 1.0], "distance": "smooth_l1"},
    "scratch": {},
}
SIDE, PATCH, BATCH, RATE = 64, 8, 32, 2e-3
THRESHOLD = 0.8
SHOTS, DRAWS = (10, 20, 40), 10
SPECKLE = (4.0, 1.0)
TUNED_DRAWS = 2
TUNING = FinetuneConfig(
    lr=1e-3, layer_decay=1.0, weight_decay=5e-4, batch_size=50, epochs=10, min_steps=40, max_steps=50
)


def build(arm: str, seed: int, steps: int) -> Method:
    """The method of an arm with fresh weights; those of the encoder are the same for all arms of a seed."""
    return anyjepa.create(
        "sar-jepa",
        size="nano",
        dim=96,
        image_size=[SIDE, SIDE],
        channels=1,
        patch_size=PATCH,
        windows={"side": 5, "count": 2},
        seed=seed,
        optim={"steps": steps, "lr": RATE},
        **ARMS[arm],
    )


def opened(asked: argparse.Namespace, **options: Any) -> RadarDataset:
    """The chips, each squeezed to a square for evaluation: their sides do not tell the class apart by what is cut."""
    config = RadarConfig(size=SIDE, fit="squeeze", **options)
    return RadarDataset(RADAR.open(asked.data, config, labels=True), config)


def halves(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Chips to pretrain on and to draw labels from, and chips to test on; no cluster is on both sides."""
    order = permutation(seed, "benchmark/clusters", 0, int(groups.max()) + 1)
    sizes = np.bincount(groups)[order]
    inside = np.isin(groups, order[np.cumsum(sizes) <= len(groups) / 2])
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def train(method: Method, dataset: RadarDataset, pool: np.ndarray, seed: int) -> list[float]:
    """Train a method on some of the chips; the losses of all steps."""
    optim, losses = method.optim, []
    torch.manual_seed(seed)
    optimizer = build_optimizer(method)
    order = np.zeros(0, dtype=np.int64)
    method.train()
    for step in range(optim.steps):
        while len(order) < BATCH:
            order = np.concatenate([order, pool[permutation(seed, "benchmark/order", step, len(pool))]])
        rows, order = order[:BATCH], order[BATCH:]
        set_schedules(optimizer, optim, step + 1)
        output = method(Batch(dataset.draw(step, rows, seed), torch.from_numpy(rows), step, seed))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(output.loss.item())
    return losses


@torch.inference_mode()
def vectors(method: Method, inputs: torch.Tensor) -> dict[str, np.ndarray]:
    """Class token and mean over the tokens of all chips."""
    found = [method.encode(part) for part in inputs.split(256)]
    return {
        "cls": torch.cat([z.pooled for z in found]).numpy(),
        "mean": torch.cat([z.tokens.mean(dim=1) for z in found]).numpy(),
    }


def linear_scores(
    method: Method,
    clean: RadarDataset,
    asked: argparse.Namespace,
    seed: int,
    pool: np.ndarray,
    test: np.ndarray,
) -> list[dict[str, Any]]:
    """Accuracy of linear probes on few labels, on clean and on speckled test chips, for all draws."""
    labels = clean.source.labels
    assert labels is not None
    method.eval()
    inputs = {"clean": clean.evaluation(np.arange(len(clean)))}
    for looks in SPECKLE:
        inputs[f"speckle {looks:g}"] = opened(asked, test_speckle=looks).evaluation(test)
    read = {name: vectors(method, x) for name, x in inputs.items()}
    found = []
    for shots in SHOTS:
        for readout in ("cls", "mean"):
            scores: dict[str, list[float]] = {name: [] for name in inputs}
            for draw in range(DRAWS):
                rows = pool[Budget(per_class=shots).choose(labels[pool], derive_seed(seed, "shots", draw))]
                probe = fit_linear(read["clean"][readout][rows], labels[rows], seed=draw, strengths=(1e-2,))
                for name in inputs:
                    values = read[name][readout]
                    tests = values[test] if name == "clean" else values
                    scores[name].append(probe.accuracy(tests, labels[test]))
            found += [
                {"probe": "linear", "readout": readout, "shots": shots, "test": name, "accuracy": values}
                for name, values in scores.items()
            ]
    return found


def tuned_scores(
    method: Method,
    clean: RadarDataset,
    asked: argparse.Namespace,
    seed: int,
    pool: np.ndarray,
    test: np.ndarray,
) -> list[dict[str, Any]]:
    """The same after fine-tuning the whole encoder, for fewer draws."""
    labels = clean.source.labels
    assert labels is not None
    samples = Samples(clean, None, np.arange(len(clean)), None)
    inputs = {"clean": clean.evaluation(test)}
    for looks in SPECKLE:
        inputs[f"speckle {looks:g}"] = opened(asked, test_speckle=looks).evaluation(test)
    found = []
    for shots in asked.shots:
        scores: dict[str, list[float]] = {name: [] for name in inputs}
        for draw in range(TUNED_DRAWS):
            rows = pool[Budget(per_class=shots).choose(labels[pool], derive_seed(seed, "shots", draw))]
            tuned = fit_finetune(method, samples, rows, labels[rows], seed=draw, config=TUNING)
            with torch.inference_mode():
                for name, x in inputs.items():
                    told = tuned.target.decode(torch.cat([tuned.outputs(part) for part in x.split(256)]))
                    scores[name].append(float((told == labels[test]).mean()))
        found += [
            {"probe": "finetune", "readout": "cls", "shots": shots, "test": name, "accuracy": values}
            for name, values in scores.items()
        ]
    return found


def clusters(asked: argparse.Namespace, dataset: RadarDataset) -> np.ndarray:
    """Clusters of near copies, found once and kept."""
    kept = asked.work / f"clusters-{THRESHOLD:g}.npy"
    if not kept.exists():
        asked.work.mkdir(parents=True, exist_ok=True)
        np.save(kept, near_duplicates(thumbnails(dataset.source), THRESHOLD))
    return np.load(kept)


def split(asked: argparse.Namespace) -> dict[str, Any]:
    """What the clusters are, and what the nearest thumbnail tells of the class with a random split and with theirs."""
    dataset = opened(asked)
    labels, images = dataset.source.labels, thumbnails(dataset.source)
    assert labels is not None
    groups = clusters(asked, dataset)
    sizes = np.bincount(groups)
    mixed = sum(len(np.unique(labels[groups == g])) > 1 for g in range(len(sizes)))
    rows: dict[str, list[dict[str, float]]] = {"random_split": [], "cluster_split": []}
    for seed in asked.seeds:
        order = permutation(seed, "benchmark/random", 0, len(labels))
        sides = {
            "random_split": (order[: len(order) // 2], order[len(order) // 2 :]),
            "cluster_split": halves(groups, seed),
        }
        for name, (pool, test) in sides.items():
            alike, nearest = closest(images[test], images[pool])
            right = labels[pool][nearest] == labels[test]
            rows[name].append(
                {
                    "pool": len(pool),
                    "test": len(test),
                    "most_alike": float(alike.max()),
                    "median_alike": float(np.median(alike)),
                    "nearest_thumbnail": float(right.mean()),
                }
            )
    return {
        "threshold": THRESHOLD,
        "chips": len(labels),
        "clusters": len(sizes),
        "largest": int(sizes.max()),
        "single": int((sizes == 1).sum()),
        "of_several_classes": int(mixed),
        **rows,
    }


def one(asked: argparse.Namespace) -> dict[str, Any]:
    """Pretrain one arm and score it by linear probes, or fine-tune what was pretrained."""
    dataset = opened(asked)
    pool, test = halves(clusters(asked, dataset), asked.seed)
    method = build(asked.arm, asked.seed, asked.steps)
    weights = asked.work / f"{asked.arm}-{asked.seed}-{asked.steps}.safetensors"
    row: dict[str, Any] = {"pool": len(pool), "test": len(test)}
    if asked.arm != "scratch" and (asked.what == "pretrain" or not weights.exists()):
        began = time.process_time()
        losses = train(method, dataset, pool, asked.seed)
        row |= {
            "loss": [float(np.mean(losses[:10])), float(np.mean(losses[-30:]))],
            "train_cpu_s": round(time.process_time() - began, 1),
        }
        save_file(method.state_dict(), weights)
    elif asked.arm != "scratch":
        method.load_state_dict(load_file(weights))
    score = linear_scores if asked.what == "pretrain" else tuned_scores
    return row | {"found": score(method, dataset, asked, asked.seed, pool, test)}


def cost(asked: argparse.Namespace) -> dict[str, Any]:
    """Share of the targets in a training step, and sums against wide convolutions; processor seconds, least of several."""
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    cases = {
        "nano 64": (build("gradient-ratio", 0, 10), BATCH, (3, 5, 7, 9)),
        "tiny 224": (anyjepa.create("sar-jepa", size="tiny", image_size=[224, 224]), 4, (5, 9, 13, 17)),
    }
    for name, (method, batch, radii) in cases.items():
        x = torch.rand(batch, *method.input_shape())
        optimizer = build_optimizer(method)

        def step(method: Method = method, x: torch.Tensor = x, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            method(x).loss.backward()
            optimizer.step()

        target = least(lambda x=x, radii=radii: gradient_ratio(x, radii))  # type: ignore[misc]
        whole = least(step)
        wide = least(lambda x=x, radii=radii: by_convolution(x, radii), repeats=2)  # type: ignore[misc]
        found[name] = {
            "targets_ms_per_image": 1e3 * target / batch,
            "step_ms_per_image": 1e3 * whole / batch,
            "share": target / whole,
            "convolutions_ms_per_image": 1e3 * wide / batch,
            "convolutions_over_sums": wide / target,
        }
    return found


def by_convolution(x: torch.Tensor, radii: tuple[int, ...]) -> torch.Tensor:
    """The same maps by plain convolutions with the four halves of every window."""
    maps = []
    for r in radii:
        left = torch.zeros(2 * r + 1, 2 * r + 1)
        left[:, : r + 1] = 1
        kernels = torch.stack([left, left.flip(1), left.T, left.T.flip(0)]).unsqueeze(1)
        sums = torch.nn.functional.conv2d(
            torch.nn.functional.pad(x, (r,) * 4, mode="reflect") + 0.01, kernels
        )
        across, down = (sums[:, 0] / sums[:, 1]).log(), (sums[:, 2] / sums[:, 3]).log()
        maps.append((across.square() + down.square()).sqrt())
    return torch.stack(maps, dim=1)


def least(call: Any, repeats: int = 5) -> float:
    """Processor seconds of the fastest of some calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return min(seconds)


def main() -> None:
    """Compute one row, unless it is there, and add it to the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("split", "pretrain", "finetune", "cost"))
    parser.add_argument("--data", type=Path, help="images.tar of SAR-ACD")
    parser.add_argument("--out", type=Path, required=True, help="a file of JSON lines that is added to")
    parser.add_argument("--work", type=Path, default=Path("runs/sar-jepa"), help="for weights and clusters")
    parser.add_argument("--arm", choices=tuple(ARMS), default="gradient-ratio")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="splits of `split`")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--shots", type=int, nargs="+", default=[40], help="labels per class of `finetune`")
    asked = parser.parse_args()
    key: dict[str, Any] = {"what": asked.what}
    if asked.what in ("pretrain", "finetune"):
        key |= {"arm": asked.arm, "seed": asked.seed, "steps": 0 if asked.arm == "scratch" else asked.steps}
    if asked.what == "finetune":
        key |= {"shots": asked.shots}
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    if any(all(row.get(name) == value for name, value in key.items()) for row in rows):
        print(f"{key} is in {asked.out}")
        return
    began = time.process_time()
    found = {"split": split, "cost": cost, "pretrain": one, "finetune": one}[asked.what](asked)
    row = {
        **key,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}",
        "cpu_s": round(time.process_time() - began, 1),
        **found,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with asked.out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps({name: value for name, value in row.items() if name != "found"}))
    for each in row.get("found", ()):
        values = each["accuracy"]
        print(
            f"   {each['probe']} {each['readout']} {each['shots']} {each['test']}: {np.mean(values):.3f} +- {np.std(values):.3f}"
        )


if __name__ == "__main__":
    main()

"""Does motion help? V-JEPA against an I-JEPA that learned from single frames of the same videos, on real and on made clips.

    python benchmarks/vjepa.py --data DATA --set pan --arms vjepa ijepa untrained pixels --seeds 0 1 2
    python benchmarks/vjepa.py --data DATA --set fight --arms vjepa ijepa untrained pixels --seeds 0 1 2
    python benchmarks/vjepa.py --table

``fight``: 98 two-second clips of fights and of none, pretrained on without their labels, scored by cross-validation over films.
``pan``, ``object``: eight directions of motion over Tiny ImageNet photographs (``motion_clips.py``); probes are tested on clips
of photographs that nothing was trained on.

Encoders have one width and depth, and see as many tokens in a step. Tokens of all frames of I-JEPA go to the same attentive
probe, as a set (``ijepa``), and with the number of the frame in a code added to them (``ijepa_time``). Runs that are in
``results/vjepa.jsonl`` are not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import anyjepa
from anyjepa.contract import Batch, Method
from anyjepa.data import ImageConfig
from anyjepa.data.modalities import modality
from anyjepa.data.video import VideoDataset
from anyjepa.data.video_config import VideoConfig
from anyjepa.evaluation.attentive import AttentiveConfig, fit_attentive
from anyjepa.evaluation.features import untrained
from anyjepa.evaluation.linear import fit_linear
from anyjepa.evaluation.splits import group_folds
from anyjepa.evaluation.tokens import TokenBudget, TokenStore
from anyjepa.monitoring.observe import observe
from anyjepa.nn.positions import sincos_table
from anyjepa.normalisation import constants
from anyjepa.schedules import OptimConfig
from anyjepa.training.optimizer import build_optimizer, set_schedules
from motion_clips import moving_clips
from report import machine
from vjepa_table import tables

RESULTS = Path(__file__).parent / "results" / "vjepa.jsonl"
FRAMES, PATCH = 8, 8
ENCODER: dict[str, Any] = dict(
    size="nano",
    dim=64,
    depth=3,
    heads=2,
    patch_size=PATCH,
    predictor_width=32,
    predictor_depth=2,
    predictor_heads=2,
)
MASKS: dict[str, Any] = {
    "tubes": dict(
        short_range=dict(blocks=2, spatial_scale=[0.2, 0.25]),
        long_range=dict(blocks=1, spatial_scale=[0.5, 0.5]),
    ),
    "future": dict(
        short_range=dict(blocks=1, spatial_scale=[0.15, 0.2], max_temporal_keep=0.5),
        long_range=dict(blocks=1, spatial_scale=[0.5, 0.5]),
    ),
}
MASKS["forecast"] = dict(
    ranges="short", short_range=dict(blocks=1, spatial_scale=[0.07, 0.07], max_temporal_keep=0.5)
)
"""Fewer blocks than in the paper: on a grid of 4 x 4 its eight and two leave next to nothing to see. ``future`` also hides the
second half of the clip from one of the two contexts (causal multi-block)."""
PROBE = AttentiveConfig(head_dim=32, lrs=(1e-3, 1e-2), weight_decays=(0.1,), batch_size=128, min_steps=200)
FOLDS = 5
ARMS = ("vjepa", "ijepa", "untrained", "untrained_frames", "pixels")


@dataclass(frozen=True)
class Material:
    """What a comparison runs on.

    Attributes:
        size: height and width of a frame.
        draw: normalised training clips (B, 3, T, H, W) of a step, and their numbers; from (step, clips, seed).
        clips: evaluation clips (n, S, T, 3, H, W) of bytes, or normalised ones (n, S, 3, T, H, W); the same for every arm.
        labels: their classes.
        split: pairs of (training, test) positions; from a seed.
        groups: what a clip was cut from.
    """

    size: tuple[int, int]
    draw: Callable[[int, int, int], tuple[Tensor, np.ndarray]]
    clips: Tensor
    labels: np.ndarray
    split: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]
    groups: np.ndarray


def normalised(clips: Tensor) -> Tensor:
    """Clips (..., T, 3, H, W) of bytes as (..., 3, T, H, W)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in constants(3, None, None))
    return ((clips.float() / 255 - mean) / std).transpose(-4, -3)


def moving(data: Path, scene: Any, labelled: int, tests: int) -> Material:
    """Clips whose label is a direction."""

    def photos(name: str, limit: int) -> np.ndarray:
        source = modality("images").open(data / "image-tinyimagenet" / name, ImageConfig(limit=limit))
        return np.stack([source.read(i).numpy() for i in range(len(source))])

    known, new = photos("train.parquet", 4000), photos("val.parquet", 1000)

    def draw(step: int, count: int, seed: int) -> tuple[Tensor, np.ndarray]:
        numbers = np.arange(step * count, (step + 1) * count)
        return normalised(moving_clips(known, numbers, 1000 + seed, scene)[0]), numbers

    train, train_labels = moving_clips(known, np.arange(labelled), 1, scene)
    test, test_labels = moving_clips(new, np.arange(tests), 2, scene)

    def split(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield np.arange(labelled), np.arange(labelled, labelled + tests)

    clips = torch.cat([train, test])[:, None]
    labels = np.concatenate([train_labels, test_labels])
    return Material((32, 32), draw, clips, labels, split, np.arange(len(labels)))


def fight(data: Path, fps: float) -> Material:
    """Real films of surveillance cameras; clips of one film are never in training and in test."""
    size = (32, 40)
    config = VideoConfig(
        frames=FRAMES, fps=fps, size=size, clips=2, cache=1024, label_column="label", group_column="source_url",
        crop_scale=(0.5, 1.0),
    )  # fmt: skip
    source = modality("video").open(data / "video-fight" / "labels.csv", config, labels=True)
    dataset = VideoDataset(source, config)
    count = len(source)
    clips = torch.cat([dataset.finish([dataset.attempt(i)]) for i in range(count)])

    def draw(step: int, batch: int, seed: int) -> tuple[Tensor, np.ndarray]:
        rows = np.random.default_rng((seed, step)).permutation(count)[:batch]
        return dataset.draw(step, rows, seed), rows

    assert source.labels is not None and source.groups is not None
    labels, groups = np.asarray(source.labels), np.asarray(source.groups)

    def split(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        fold = group_folds(labels, groups, FOLDS, seed)
        for k in range(FOLDS):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    return Material(size, draw, clips, labels, split, groups)


def build(arm: str, material: Material, seed: int, asked: argparse.Namespace) -> Method:
    """V-JEPA, or I-JEPA of the same encoder."""
    optim = dict(
        steps=asked.steps, warmup_steps=asked.steps // 10, start_lr=asked.lr / 10, lr=asked.lr, final_lr=asked.lr / 100,
        final_weight_decay=0.04,
    )  # fmt: skip
    common = ENCODER | dict(
        image_size=list(material.size), channels=3, seed=seed, optim=optim, ema=[asked.ema, 1.0],
        regularizer=dict(kind="vicreg", weight=asked.regularizer, level="both") if asked.regularizer else dict(kind="none"),
    )  # fmt: skip
    if arm in ("vjepa", "untrained"):
        return anyjepa.create("vjepa", **(common | dict(frames=FRAMES, tubelet=2) | MASKS[asked.masks]))
    return anyjepa.create("ijepa", **(common | dict(masks=dict(truncate="pad", target_scale=[0.15, 0.3]))))


def pretrain(method: Method, material: Material, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Train a method in place; what its last steps were like."""
    optim: OptimConfig = method.optim
    optimizer, losses, stills = build_optimizer(method), [], method.name == "ijepa"
    method.train()
    for step in range(optim.steps):
        clips, numbers = material.draw(step, asked.batch, seed)
        if stills:
            # Half of the frames, drawn for each clip: as many tokens as the tubelets of two frames make of all.
            chosen = (
                np.random.default_rng((seed, step, 1))
                .random((len(clips), FRAMES))
                .argsort(1)[:, : FRAMES // 2]
            )
            clips = clips.transpose(1, 2)[
                torch.arange(len(clips))[:, None], torch.from_numpy(chosen)
            ].flatten(0, 1)
            numbers = (numbers[:, None] * FRAMES + chosen).ravel()
        set_schedules(optimizer, optim, step + 1)
        output = method(Batch(clips, torch.from_numpy(numbers), step, seed))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(output.loss.item())
    seen = observe(output)
    return {
        "loss": round(float(np.mean(losses[-20:])), 4),
        "match": round(seen["prediction_match"], 3),
        "target_rank": round(seen["target_rank"], 1),
    }


@torch.inference_mode()
def tokens_of(arm: str, method: Method | None, clips: Tensor) -> dict[str, Tensor]:
    """Tokens (n, N, D) by name of the reading, of clips (n, S, 3, T, H, W)."""
    if method is None:
        # At half the resolution: a tubelet then has about as many values as a token of the encoders; with the same positions.
        cells = F.avg_pool2d(clips.flatten(0, 3), PATCH // 4).unflatten(0, clips.shape[:4])
        part = cells.unflatten(3, (FRAMES // 2, 2)).unflatten(5, (-1, 4)).unflatten(7, (-1, 4))
        # n S c t 2 y 4 x 4 -> n (S t y x) (c 2 4 4)
        tokens = part.permute(0, 1, 3, 5, 7, 2, 4, 6, 8).flatten(5)
        table = sincos_table(tuple(tokens.shape[2:5]), tokens.shape[5])
        return {arm: (tokens.flatten(2, 4) + table).flatten(1, 2)}
    if method.name == "vjepa":
        return {arm: method.encode(clips).tokens}
    n, shots = clips.shape[:2]
    frames = clips.transpose(2, 3).flatten(0, 2)
    tokens = method.encode(frames).tokens.unflatten(0, (n, shots * FRAMES))
    code = sincos_table((shots * FRAMES,), tokens.shape[-1])[None, :, None].float()
    return {arm: tokens.flatten(1, 2), f"{arm}_time": (tokens + code).flatten(1, 2)}


def score(arm: str, method: Method | None, material: Material, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each reading and probe."""
    n = len(material.clips)
    stores: dict[str, TokenStore] = {}
    if method is not None:
        method.eval()
    for start in range(0, n, 100):
        clips = material.clips[start : start + 100]
        clips = normalised(clips) if clips.dtype == torch.uint8 else clips
        for name, tokens in tokens_of(arm, method, clips).items():
            stores.setdefault(name, TokenStore(n, TokenBudget())).add(tokens)
    for name, store in stores.items():
        pooled = np.concatenate(
            [store.take(part).mean(1).numpy() for part in np.array_split(np.arange(n), n // 50)]
        )
        for probe in ("attentive", "linear"):
            if probe == "linear" and name.endswith("_time"):
                # The mean of the codes is a constant.
                continue
            right = np.full(n, -1)
            for inside, held in material.split(seed):
                labels = material.labels[inside]
                if probe == "attentive":
                    fitted = fit_attentive(store, inside, labels, seed=seed, config=PROBE)
                    found = fitted.predict(store, held)
                else:
                    found = fit_linear(pooled[inside], labels, seed=seed).predict(pooled[held])
                right[held] = np.asarray(found) == material.labels[held]
            tested = np.flatnonzero(right >= 0)
            yield {
                "arm": name,
                "probe": probe,
                "accuracy": round(float(right[tested].mean()), 4),
                "tested": len(tested),
                "right": "".join(map(str, right[tested].tolist())) if len(tested) < 200 else None,
                "groups": material.groups[tested].tolist() if len(tested) < 200 else None,
            }


def main() -> None:
    """Run what is asked for and not yet done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", choices=("fight", "pan", "object"), default="pan")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16, help="clips of a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--ema", type=float, default=0.99, help="momentum at the start")
    parser.add_argument(
        "--regularizer", type=float, default=0.2, help="weight of VICReg's terms on the context"
    )
    parser.add_argument("--masks", choices=list(MASKS), default="future")
    parser.add_argument("--fps", type=float, default=8.0, help="frames of a fight clip per second")
    parser.add_argument("--labelled", type=int, default=1200)
    parser.add_argument("--tests", type=int, default=600)
    parser.add_argument(
        "--tag", default="", help="marks runs with other settings, which are not in the first table"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results so far")
    asked = parser.parse_args()
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    if asked.table:
        print(tables(rows))
        return
    done = {(row["set"], row["run"], row["seed"], row["tag"]) for row in rows}
    material = None
    for seed in asked.seeds:
        for arm in asked.arms:
            if (asked.set, arm, seed, asked.tag) in done:
                continue
            if material is None:
                material = (
                    fight(asked.data, asked.fps)
                    if asked.set == "fight"
                    else moving(asked.data, asked.set, asked.labelled, asked.tests)
                )
            began, facts = time.process_time(), {}
            method = None if arm == "pixels" else build(arm, material, seed, asked)
            if arm in ("vjepa", "ijepa"):
                assert method is not None
                facts = pretrain(method, material, seed, asked)
            elif method is not None:
                method = untrained(method, seed)
            facts["pretrain_cpu_s"] = round(time.process_time() - began)
            found = list(score(arm, method, material, seed))
            facts["cpu_s"] = round(time.process_time() - began)
            now = datetime.now(UTC).isoformat(timespec="minutes")
            given = {k: getattr(asked, k) for k in ("steps", "batch", "lr", "ema", "regularizer", "masks")}
            head = {"date": now, "set": asked.set, "run": arm, "seed": seed, "tag": asked.tag} | given | facts
            head |= {k: machine()[k] for k in ("cpu", "torch")}
            with asked.out.open("a") as file:
                file.write("".join(json.dumps(head | row) + "\n" for row in found))
            shown = "  ".join(f"{row['arm']} {row['probe']} {row['accuracy']:.3f}" for row in found)
            print(asked.set, seed, asked.tag, shown, facts, flush=True)


if __name__ == "__main__":
    main()

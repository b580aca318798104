"""seq-JEPA against its twins: what aggregate and encoder know of the class and of the transformation, on COIL-20 and CIFAR-10.

    python benchmarks/seq_jepa.py --data DATA --set coil --out benchmarks/results/seq_jepa.jsonl

Arms: ``seq`` (views and actions), ``blind`` (the same sequences without actions), ``invariant`` (two views, no actions), and the
negative control ``chance`` (actions of other draws). All have the same encoder, optimizer, number of encoded views and steps.

COIL-20: pretraining and heads see the first objects, of each three blocks of 15 degrees out of four. Classes and R2 are scored
on the views of the fourth blocks; R2 also on the last objects, of which nothing was ever seen. With ``--few`` the probes of
classes get so many labelled views of each object alone. Where the predictor is told actions, turns of the object are planned
from a view to another (seq_jepa_turntable.py). CIFAR-10: pretraining on training images; heads are fitted on some of them and
scored on test images.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

import anyjepa
from anyjepa.contract import Batch, Method
from anyjepa.data.modalities import modality
from anyjepa.data.pose_source import PoseSource
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.evaluation.features import untrained
from anyjepa.evaluation.sequence_features import Part, part
from anyjepa.evaluation.sequence_tasks import (
    Found,
    Setting,
    equivariance_scores,
    path_scores,
    retrieval_scores,
    sequence_scores,
)
from anyjepa.randomness import permutation
from anyjepa.schedules import OptimConfig
from anyjepa.training.optimizer import build_optimizer, set_schedules
from seq_jepa_turntable import turn_scores

VIEWS = modality("views")
MODEL = dict(
    size="nano", stem="small", widths=[16, 32, 64], blocks=[1, 1, 1], action_width=16, depth=1, predictor_hidden=128, dropout=0.0
)  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """A twin: how many views it sees, which of the actions, and its batch: all encode as many views per step."""

    observed: tuple[int, int]
    actions: str
    batch: int
    chance: bool = False


def arms(observed: tuple[int, int], batch: int) -> dict[str, Arm]:
    """All twins of a seq-JEPA with so many observed views and samples per step."""
    usual = sum(observed) / 2 + 1
    return {
        "seq": Arm(observed, "both", batch),
        "blind": Arm(observed, "none", batch),
        "invariant": Arm((1, 1), "none", round(batch * usual / 2)),
        "chance": Arm(observed, "both", batch, chance=True),
    }


def pretrain(
    dataset: ViewsDataset, arm: Arm, steps: int, asked: argparse.Namespace, seed: int
) -> tuple[Method, float]:
    """A method of size nano trained on all samples of a data set; and its mean loss over the last tenth of the steps."""
    lr = asked.lr
    optim = OptimConfig(
        steps=steps,
        warmup_steps=max(1, steps // 6),
        start_lr=lr / 40,
        lr=lr,
        final_lr=lr / 40,
        weight_decay=1e-3,
        final_weight_decay=1e-3,
    )
    method = anyjepa.create(
        "seq-jepa",
        **MODEL,
        channels=dataset.shape[0],
        image_size=list(dataset.size),
        action_dim=dataset.action_dim,
        actions=arm.actions,
        ema=[0.99, 1.0],
        regularizer=dict(kind="vicreg", weight=asked.regularizer, level="tokens", covariance=1.0)
        if asked.regularizer
        else dict(kind="none"),
        seed=seed,
        optim=asdict(optim),
    )
    torch.manual_seed(seed)
    optimizer = build_optimizer(method)
    order, losses = np.zeros(0, dtype=np.int64), []
    method.train()
    for step in range(steps):
        while len(order) < arm.batch:
            order = np.concatenate([order, permutation(seed, "benchmark/order", step, len(dataset))])
        rows, order = order[: arm.batch], order[arm.batch :]
        set_schedules(optimizer, optim, step + 1)
        output = method(Batch(dataset.draw(step, rows, seed), torch.from_numpy(rows), step, seed))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(output.loss.item())
    return method.eval(), float(np.mean(losses[-max(1, steps // 10) :]))


@dataclass(frozen=True)
class Material:
    """Data of a comparison.

    Attributes:
        pretrain: what is pretrained on.
        train, test: for classes, for R2 and for paths.
        others: a further test of R2: objects never seen; None: there are none.
        labelled: what probes of classes are fitted on; None: ``train``.
        table: all views, their angles, and the rows at which planning starts, by name; None: nothing is planned.
    """

    pretrain: ViewsDataset
    train: Part
    test: Part
    others: Part | None
    labelled: Part | None = None
    table: tuple[ViewsDataset, np.ndarray, dict[str, np.ndarray]] | None = None


def coil(data: Path, objects: int, side: int, observed: tuple[int, int], few: int) -> Material:
    """COIL-20 with objects and angles held out; ``few`` labelled views of each object, 0: all."""
    config = ViewsConfig(size=side, observed=observed)
    source = VIEWS.open(data / "views-coil20" / "COIL20.mat", config, labels=True)
    source, config = VIEWS.settle(source, config)
    assert isinstance(source, PoseSource)
    whole = ViewsDataset(source, config)
    degrees = np.rad2deg(source.poses(np.arange(len(source)))[:, 0])
    seen, away = source.objects < objects, source.objects >= 20 - min(objects, 20 - objects)
    turned = np.rint(degrees / 5) // 3 % 4 == 3
    train = part(whole, np.flatnonzero(seen & ~turned))
    labelled = (
        Part(train.dataset, np.arange(0, len(train.rows), len(train.rows) // objects // few)) if few else None
    )
    starts = {"seen objects:": np.flatnonzero(seen & turned), "others:": np.flatnonzero(away & turned)}
    return Material(
        train.dataset,
        train,
        part(whole, np.flatnonzero(seen & turned)),
        part(whole, np.flatnonzero(away)),
        labelled,
        (whole, degrees, starts),
    )


def cifar(
    data: Path, images: int, labelled: int, tests: int, side: int, observed: tuple[int, int]
) -> Material:
    """CIFAR-10 under crop, colour and blur."""
    config = ViewsConfig(size=side, canvas=(32, 32), observed=observed, limit=images)
    folder = data / "image-cifar10"
    source, config = VIEWS.settle(VIEWS.open(folder / "train.parquet", config, labels=True), config)
    held = ViewsDataset(
        VIEWS.open(folder / "test.parquet", replace(config, limit=tests), labels=True), config
    )
    whole = ViewsDataset(source, config)
    return Material(whole, Part(whole, np.arange(labelled)), Part(held, np.arange(tests)), None)


def score(method: Method, material: Material, seed: int, observed: int, setting: Setting) -> list[Found]:
    """All numbers of one method."""
    plain = replace(setting, seed=seed)
    found = sequence_scores(method, material.labelled or material.train, material.test, plain)
    others = [] if material.others is None else [material.others]
    found += equivariance_scores(method, material.train, material.test, plain, *others)
    path = replace(plain, lengths=(observed,))
    if method.config.conditions_aggregator:
        found += path_scores(method, material.train, material.test, path)
    if method.config.conditions_predictor:
        found += retrieval_scores(method, material.train, material.test, replace(plain, lengths=(observed,)))
    if method.config.conditions_predictor and material.table:
        table, degrees, starts = material.table
        for whose, rows in starts.items():
            for how in ("planned", "chance"):
                found += turn_scores(
                    method,
                    table,
                    degrees,
                    rows,
                    name=f"{whose} turns {how}:",
                    seed=seed,
                    ahead=observed,
                    planned=how == "planned",
                )
    return found


def main() -> None:
    """Run the arms and write one JSON line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=("coil", "cifar"), required=True)
    parser.add_argument("--arms", nargs="+", default=["seq", "invariant", "chance", "blind", "untrained"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--regularizer", type=float, default=0.3, help="weight of VICReg's terms on the views, in all arms"
    )
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument(
        "--observed", type=int, nargs=2, default=[1, 1], help="least and most views that are seen"
    )
    parser.add_argument("--side", type=int, default=16, help="pixels of a view")
    parser.add_argument("--objects", type=int, default=6, help="of COIL-20, that are trained on")
    parser.add_argument("--few", type=int, default=0, help="labelled views of each object of COIL-20, 0: all")
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--labelled", type=int, default=1500)
    parser.add_argument("--tests", type=int, default=800)
    parser.add_argument("--out", type=Path, required=True, help="a file of JSON lines that is added to")
    asked = parser.parse_args()
    if asked.set == "coil":
        material = coil(asked.data, asked.objects, asked.side, tuple(asked.observed), asked.few)
    else:
        material = cifar(
            asked.data, asked.images, asked.labelled, asked.tests, asked.side, tuple(asked.observed)
        )
    observed = material.pretrain.config.observed
    # Angles are told by products of features, changes of crop and colour by differences.
    heads = ("mlp",) if asked.set == "coil" else ("linear",)
    setting = Setting(
        (1, 2, 3, 5), repeats=6 if asked.set == "coil" else 1, heads=heads, hidden=(128,), strengths=(1e-2,)
    )
    for seed in asked.seeds:
        for name in asked.arms:
            began = time.process_time()
            arm = arms(observed, asked.batch)["seq" if name == "untrained" else name]
            config = replace(material.pretrain.config, observed=arm.observed, chance_actions=arm.chance)
            dataset = ViewsDataset(material.pretrain.source, config)
            method, loss = pretrain(dataset, arm, 1 if name == "untrained" else asked.steps, asked, seed)
            if name == "untrained":
                method = untrained(method, seed).eval()
            trained = time.process_time() - began
            found = score(method, material, seed, observed[1], setting)
            line = {
                "set": asked.set,
                "arm": name,
                "seed": seed,
                "steps": asked.steps,
                "observed": arm.observed,
                "batch": arm.batch,
                "lr": asked.lr,
                "regularizer": asked.regularizer,
                **({"objects": asked.objects, "few": asked.few} if asked.set == "coil" else {}),
                "loss": loss,
                "train_cpu_s": round(trained, 1),
                "cpu_s": round(time.process_time() - began, 1),
                "found": [asdict(f) for f in found],
            }
            with asked.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(name, seed, f"loss {loss:.3f}, {trained:.0f} + {line['cpu_s'] - trained:.0f} s", flush=True)
            for f in found:
                print(f"   {f.quantity} [{f.length}] {f.value:.3f}", flush=True)


if __name__ == "__main__":
    main()

"""Do targets made of neighbours give features that tell regions apart? DMT-JEPA against I-JEPA at equal budget.

    python benchmarks/dmt_jepa.py train --data DATA --work RUNS --arm dmt --seed 0
    python benchmarks/dmt_jepa.py score --data DATA --work RUNS --arm dmt --seed 0
    python benchmarks/dmt_jepa.py score --data DATA --work RUNS --arm ijepa --seed 0 --baselines
    python benchmarks/dmt_jepa.py table

Each arm is trained on the photographs of Tiny ImageNet through the library's front door, then scored by classes (linear, kNN)
and by what its single tokens know: segmentation of collages and labels followed through clips (benchmarks/collages.py). ``train``
does nothing where the run is there already, ``score`` nothing where its row is. One line per run is appended to
benchmarks/results/dmt_jepa.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import anyjepa
import collages
from anyjepa.evaluation.dense import DenseResult
from anyjepa.evaluation.probe import probe
from anyjepa.evaluation.probe_dense import probe_propagation, probe_segmentation
from anyjepa.evaluation.propagation import PropagationConfig
from anyjepa.training import RunConfig

Scores = dict[str, dict[str, float]]
"""By the kind of features, by the name of the score."""
RESULTS = Path(__file__).parent / "results" / "dmt_jepa.jsonl"
SIZE = 64
LABELS = 2000
"""Labelled photographs to fit on, and to score."""
FOLLOW = PropagationConfig(radius=3)
"""DINO's constants but for the reach, which would be the whole of an 8x8 grid."""

BASE: dict[str, Any] = dict(
    size="nano",
    stem="conv",
    patch_size=8,
    depth=2,
    predictor_depth=2,
    masks=dict(truncate="pad"),
    ema=[0.99, 1.0],
    regularizer=dict(kind="vicreg", weight=0.2, level="both"),
)
"""The setting ijepa-ema-vicreg of benchmarks/small_scale.py on a grid of 8x8 tokens."""
PLAIN = dict(regularizer=dict(kind="none"))

ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ijepa": ("ijepa", {}),
    "dmt": ("dmt-jepa", {}),
    "dmt-official-query": ("dmt-jepa", dict(query="official")),
    "dmt-wrap": ("dmt-jepa", dict(neighbours=dict(borders="wrap"))),
    "mean": ("dmt-jepa", dict(target_kind="mean", context_head="none")),
    "ijepa-plain": ("ijepa", PLAIN),
    "dmt-plain": ("dmt-jepa", PLAIN),
}
"""Method and what differs from :data:`BASE`. ``mean`` is the variant without parameters, ``-plain`` without regularizer."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "score", "table"))
    parser.add_argument("--data", type=Path, help="folder with image-tinyimagenet and views-coil20")
    parser.add_argument("--work", type=Path, help="folder of the runs")
    parser.add_argument("--arm", choices=tuple(ARMS), default="dmt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--baselines", action="store_true", help="score what the encoder of --arm is worth untrained"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.what == "train":
        train(arguments)
    elif arguments.what == "score":
        score(arguments)
    else:
        print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))


def folder(arguments: argparse.Namespace) -> Path:
    """Where the run of an arm lies."""
    return arguments.work / f"{arguments.arm}-{arguments.steps}x{arguments.batch_size}-{arguments.seed}"


def train(arguments: argparse.Namespace) -> None:
    """Pretrain one arm with one seed, or go on with it."""
    place = folder(arguments)
    if (place / "done.json").exists():
        return
    method, changes = ARMS[arguments.arm]
    model = copy.deepcopy(BASE) | copy.deepcopy(changes) | {"seed": arguments.seed}
    model["optim"] = dict(
        steps=arguments.steps,
        warmup_steps=arguments.steps // 10,
        lr=1e-3,
        start_lr=1e-4,
        final_weight_decay=0.04,
    )
    config = RunConfig.from_mapping(
        dict(
            method=method,
            data=str(arguments.data / "image-tinyimagenet" / "train.parquet"),
            out=str(place),
            model=model,
            images=dict(size=SIZE, flip=True),
            train=dict(
                seed=arguments.seed,
                batch_size=arguments.batch_size,
                workers=0,
                accelerator="cpu",
                checkpoint_every=10**6,
            ),
        )
    )
    started = time.monotonic()
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = anyjepa.pretrain(config, overwrite=True)
    if not result.finished:
        raise SystemExit("interrupted")
    now = resource.getrusage(resource.RUSAGE_SELF)
    record = {
        "verdict": str(result.diagnosis.verdict),
        "minutes": (time.monotonic() - started) / 60,
        "cpu_minutes": (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / 60,
    }
    (place / "done.json").write_text(json.dumps(record))


def score(arguments: argparse.Namespace) -> None:
    """Append the row of one run, or with ``--baselines`` those of the same encoder untrained and of raw pixels."""
    place = folder(arguments)
    known = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    budget = {"seed": arguments.seed, "steps": arguments.steps, "batch_size": arguments.batch_size}
    baselines = ("untrained", "raw") if arguments.baselines else ()
    arms = {name: name for name in baselines} or {arguments.arm: "pretrained"}
    if all(any({"arm": arm, **budget}.items() <= row.items() for row in known) for arm in arms):
        return
    made = arguments.work / "collages"
    collages.write(arguments.data, made, train=800, test=400, clips=60)
    images = arguments.data / "image-tinyimagenet"
    asked: dict[str, Any] = dict(seeds=[arguments.seed], baselines=baselines)
    run = str(place)

    def classes() -> Scores:
        few = {"limit": LABELS}
        found = probe(run, images / "train.parquet", images / "val.parquet", read=few, **asked)
        rows = {row.features: row for row in found.rows}
        return {name: {"linear": row.linear[0], "knn": row.knn[0]} for name, row in rows.items()}

    def parts() -> Scores:
        return dense(probe_segmentation([run], made / "train.npz", made / "test.npz", **asked))

    def things() -> Scores:
        found = dense(probe_segmentation([run], made / "things-train.npz", made / "things-test.npz", **asked))
        return {name: {"things_miou": values["miou"]} for name, values in found.items()}

    def clips() -> Scores:
        return dense(probe_propagation([run], made / "clips.npz", config=FOLLOW, **asked))

    measured = [
        kept(place / f"{make.__name__}{'-baselines' * bool(baselines)}.json", make)
        for make in (classes, parts, things, clips)
    ]
    for arm, features in arms.items():
        row: dict[str, Any] = {"arm": arm, **budget}
        for found in measured:
            row |= {name: value for name, value in found[features].items() if name in COLUMNS}
        if features == "pretrained":
            row |= json.loads((place / "done.json").read_text())
        row |= {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        }
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def dense(result: DenseResult) -> Scores:
    """Values of each kind of features."""
    return {score.features: score.values for score in result.scores}


def kept(file: Path, make: Callable[[], Scores]) -> Scores:
    """What was measured before, or is now."""
    if not file.exists():
        file.write_text(json.dumps(make()))
    return json.loads(file.read_text())


COLUMNS = {
    "linear": "linear",
    "knn": "kNN",
    "miou": "mIoU, 6 classes",
    "patches": "patches",
    "things_miou": "mIoU, new objects",
    "j": "J",
    "f": "F",
}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean and spread over the seeds of each arm, in percent."""
    lines = [f"| arm | seeds | {' | '.join(COLUMNS.values())} | doctor |", "|" + "---|" * (len(COLUMNS) + 3)]
    for arm in ("raw", "untrained", *ARMS):
        found = [row for row in rows if row["arm"] == arm]
        if not found:
            continue
        cells = []
        for column in COLUMNS:
            values = [100 * row[column] for row in found]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}")
        verdicts = ", ".join(sorted({row.get("verdict", "") for row in found}))
        lines.append(f"| {arm} | {len(found)} | {' | '.join(cells)} | {verdicts} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

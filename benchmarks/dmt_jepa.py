"""Do targets made of neighbours give features that tell regions apart? DMT-JEPA against I-JEPA at equal budget.

    python benchmarks/dmt_jepa.py train --data DATA --work RUNS --arm dmt --seed 0
    python benchmarks/dmt_jepa.py score --data DATA --work RUNS --arm dmt --seed 0
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
import resource
import time
from pathlib import Path
from typing import Any

import anyjepa
from anyjepa.training import RunConfig

RESULTS = Path(__file__).parent / "results" / "dmt_jepa.jsonl"
SIZE = 64

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
    parser.add_argument("--arm", choices=(*ARMS, "untrained", "raw"), default="dmt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.what == "train":
        train(arguments)


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


if __name__ == "__main__":
    main()

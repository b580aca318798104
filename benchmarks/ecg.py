"""What is pretraining on a few hundred unlabelled ECGs worth? Rhythms, beats and waves from few labels.

    python benchmarks/ecg.py --data DATA --seeds 0 1 2
    python benchmarks/ecg.py --table

DATA holds the folders ecg-12lead, ecg-ludb and ecg-mitbih. One encoder per seed is pretrained on all training persons of them
(the test persons are never seen, not even without labels) and serves all tasks. One line per result is appended to
benchmarks/results/ecg.jsonl. ``--pilot`` leaves the test persons out and tests on some of the training persons: settings were
chosen that way.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import anyjepa
from anyjepa.config import from_dict
from anyjepa.contract import Method
from anyjepa.data.ecg import EcgConfig
from anyjepa.data.ecg_dataset import EcgDataset
from anyjepa.data.loader import build_loader
from anyjepa.evaluation.features import untrained
from anyjepa.evaluation.finetune import FinetuneConfig
from anyjepa.monitoring.examine import examine, read_rows
from anyjepa.registry import entry
from anyjepa.training.config import TrainConfig
from anyjepa.training.loop import train
from ecg_protocols import (
    centred,
    crop_features,
    encoder_tokens,
    linear_score,
    raw_tokens,
    tuned_score,
    wave_score,
)
from ecg_table import tables
from ecg_tasks import Part, Task, beat_task, open_parts, rhythm_task, wave_task

RESULTS = Path(__file__).parent / "results" / "ecg.jsonl"
RATE = 250.0
"""Hz."""
SECONDS, BEAT_SECONDS, RECORD_SECONDS = 5.0, 1.0, 10.0
"""Length of a training crop, of the window around a beat, and of a recording whose rhythm is told."""
MOST_OF_ONE = 60
"""Crops that count of one recording in an epoch: half an hour would be 360."""
MODEL: dict[str, Any] = dict(
    size="nano",
    ema=[0.99, 0.9995],
    patch_std=0.2,
    masks=dict(visible=[0.3, 0.5], min_block=2),
    regularizer=dict(kind="vicreg", level="both", weight=0.2),
)
"""A token is 25 samples: 0.1 s."""
OPTIM = dict(lr=1e-3, start_lr=1e-6, final_lr=1e-6)
BUDGETS: dict[str, tuple[int | None, ...]] = {
    "rhythm-ludb": (1, 2, 5, None),
    "rhythm-mix": (1, 2, 5, None),
    "beats": (1, 5, 10, 50, None),
}
DRAWS = 5
"""Choices of the labelled samples per seed, for protocols that cost nothing; the trained ones get the first ``TUNED_DRAWS``."""
TUNED_DRAWS = 1
TUNED = (1, 5, None)
"""Budgets of fine-tuning and of training from scratch."""
TUNING = dict(lr=1e-3, batch_size=32, min_steps=100, max_steps=150)


def main() -> None:
    options = parse()
    if options.table:
        print(tables([json.loads(line) for line in RESULTS.read_text().splitlines()]))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        parts = open_parts(options.data, scratch, EcgConfig(rate=RATE, seconds=SECONDS), inner=options.pilot)
        tasks = {
            "rhythm-ludb": rhythm_task([parts["ludb"]], RECORD_SECONDS),
            "rhythm-mix": rhythm_task([parts["ludb"], parts["mix"]], RECORD_SECONDS),
            "beats": beat_task(parts["mitbih"], options.data, BEAT_SECONDS),
        }
        waves = wave_task(parts["ludb"], scratch)
        for seed in options.seeds:
            begun = time.process_time()
            method, row = pretrained(parts, seed, scratch / f"run{seed}", options)
            write(options, seed, begun, [row | {"part": "pretraining"}])
            fresh = untrained(method, seed)
            if "waves" in options.part:
                begun, length = time.process_time(), method.input_shape()[1]
                patch = method.config.patch_size
                kinds = {
                    "pretrained": encoder_tokens(method, length),
                    "pretrained, block 2": encoder_tokens(method, length, layer=1),
                    "untrained": encoder_tokens(fresh, length),
                    "untrained, block 2": encoder_tokens(fresh, length, layer=1),
                }
                if seed == options.seeds[0]:
                    # The same for every seed.
                    kinds |= {"raw patch": raw_tokens(patch, 0), "raw, 3 patches": raw_tokens(patch, 1)}
                rows = [
                    {"part": "waves", "features": k} | wave_score(t, waves, patch) for k, t in kinds.items()
                ]
                write(options, seed, begun, rows)
            for name in (n for n in options.part if n in tasks):
                begun = time.process_time()
                write(
                    options,
                    seed,
                    begun,
                    [r | {"part": name} for r in curves(method, fresh, name, tasks[name], seed, options)],
                )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the three data sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--part", nargs="+", default=["waves", *BUDGETS], choices=[*BUDGETS, "waves"])
    parser.add_argument("--steps", type=int, default=1200, help="of pretraining")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=JSON", help="keys of the method's config"
    )
    parser.add_argument("--method", default="ecg-jepa")
    parser.add_argument("--tag", default="", help="what --set changes, in words")
    parser.add_argument(
        "--no-tuning", action="store_true", help="leave out fine-tuning and training from scratch"
    )
    parser.add_argument(
        "--pilot", action="store_true", help="without the test persons; nothing is written down"
    )
    parser.add_argument("--table", action="store_true", help="print the results so far")
    return parser.parse_args()


def pretrained(
    parts: dict[str, Part], seed: int, run: Path, options: argparse.Namespace
) -> tuple[Method, dict[str, Any]]:
    """An encoder trained on all training persons without labels, and what is to be said of its training."""
    records = [part.records.subset(part.rows(test=False)) for part in parts.values()]
    dataset = EcgDataset.of(records, EcgConfig(rate=RATE, seconds=SECONDS, most_of_one=MOST_OF_ONE))
    fields = MODEL | {"seed": seed, "optim": OPTIM | {"steps": options.steps}}
    for item in options.set:
        key, _, value = item.partition("=")
        fields[key] = json.loads(value)
    config = from_dict(entry(options.method).config, fields).fit(dataset.shape)
    method = anyjepa.create(options.method, config)
    settings = TrainConfig(
        seed=seed,
        batch_size=options.batch_size,
        workers=0,
        accelerator="cpu",
        log_every=25,
        checkpoint_every=10**6,
    )

    def loader(start: int, rank: int, world: int) -> Any:
        return build_loader(
            dataset,
            seed=seed,
            batch_size=options.batch_size,
            steps=config.optim.steps,
            start_step=start,
            rank=rank,
            world=world,
            workers=0,
        )

    if options.steps:
        train(method, loader, settings, run)
        rows, verdict = read_rows(run), examine(run).verdict
    else:
        rows, verdict = [{}], ""
    kept = {k: v for k, v in rows[-1].items() if "_" in k or k == "loss"}
    return method.eval(), {
        "segments": len(dataset),
        "verdict": verdict,
        "first_loss": rows[0].get("loss"),
        "last": kept,
    }


def curves(
    method: Method, fresh: Method, name: str, task: Task, seed: int, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Scores of all protocols for all budgets of one task."""
    length = min(method.input_shape()[1], task.x.shape[2])
    features = {
        "pretrained": crop_features(method, task.x, length),
        "context encoder": crop_features(method, task.x, length, "context"),
        "untrained": crop_features(fresh, task.x, length),
        "classical": task.extra,
    }
    if len(np.unique(task.person)) < len(task.person):
        features |= {f"{kind}, centred": centred(values, task.person) for kind, values in features.items()}
    starts = {"fine-tuned": (method, 0.75), "from scratch": (fresh, 1.0)}
    for budget in BUDGETS[name]:
        base = {"budget": budget, "classes": list(task.classes)}
        for kind, values in features.items():
            found = [
                linear_score(values, task, budget, draw_of(seed, d)) for d in range(DRAWS if budget else 1)
            ]
            yield base | {"features": kind, **mean(found)}
        for kind, (start, decay) in starts.items():
            if options.no_tuning or budget not in TUNED:
                continue
            config = FinetuneConfig(layer_decay=decay, **TUNING)
            found = [
                tuned_score(start, task, length, budget, draw_of(seed, d), config) for d in range(TUNED_DRAWS)
            ]
            yield base | {"features": kind, **mean(found)}


def draw_of(seed: int, number: int) -> int:
    """Seed of a choice of labelled samples: the same for all protocols."""
    return 100 * seed + number


def mean(found: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each score over the choices of labels."""
    return {key: float(np.mean([each[key] for each in found])) for key in found[0]}


def write(options: argparse.Namespace, seed: int, begun: float, rows: Any) -> None:
    """Append to the results, each line with what is needed to repeat it."""
    rows = list(rows)
    about = {
        "seed": seed,
        "tag": options.tag,
        "method": options.method,
        "steps": options.steps,
        "batch_size": options.batch_size,
        "set": options.set,
        "cpu_minutes": round((time.process_time() - begun) / 60, 2),
        "command": " ".join(["python benchmarks/ecg.py", *sys.argv[1:]]).replace(str(options.data), "DATA"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": f"one thread of a 2-core x86 CPU ({platform.machine()}), fp32, torch {torch.__version__}",
    }
    for row in rows:
        print(json.dumps({"seed": seed} | row), flush=True)
    if not options.pilot:
        with RESULTS.open("a") as file:
            file.writelines(json.dumps(about | row) + "\n" for row in rows)


if __name__ == "__main__":
    main()

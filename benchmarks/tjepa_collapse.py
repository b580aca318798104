"""Does T-JEPA collapse without a [REG] token, and escape with one? The measures of the paper along training, on Jannis.

    python benchmarks/tjepa_collapse.py --data JANNIS --registers 0 1 --seeds 0 1 2
    python benchmarks/tjepa_collapse.py --table

JANNIS holds N_val.npy, whose rows are trained on, and N_test.npy, the first 128 of which are embedded. The model is the
published one (64 wide, 16 layers, sinusoids of amplitude 1, numbers scaled to 0..1) in the paper's behaviour, but for what
``--model`` changes; batch, length and rate are those of the arguments. An embedding is what the target encoder says of a whole
row, the vectors of all columns one behind the other. One line per run is appended to benchmarks/results/tjepa_collapse.jsonl.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anyjepa.config import from_dict
from anyjepa.contract import Batch, Method
from anyjepa.data.tables_config import TablesConfig
from anyjepa.data.tables_frames import as_table
from anyjepa.data.tables_source import TableSource
from anyjepa.methods.tjepa import TJEPA, TJEPAConfig
from anyjepa.monitoring.doctor import Doctor
from anyjepa.monitoring.observe import observe
from anyjepa.monitoring.pairs import pair_distance, pair_divergence, uniformity
from anyjepa.training.optimizer import build_optimizer, set_schedules

RESULTS = Path(__file__).parent / "results" / "tjepa_collapse.jsonl"
EMBEDDED = 128
MEASURES = {"uniformity": uniformity, "KL": pair_divergence, "l2": pair_distance}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--registers", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=25, help="steps between two looks")
    parser.add_argument("--model", default="{}", help="further keys of the model, as JSON")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results so far")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.table:
        print(table([json.loads(line) for line in arguments.out.read_text().splitlines()]))
        return
    for seed in arguments.seeds:
        for registers in arguments.registers:
            record = run(registers, seed, arguments)
            with arguments.out.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)


def rows(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Training rows (N, 1, 54), and those that are embedded; scaled by the training rows."""
    train, test = (np.load(folder / f"N_{part}.npy") for part in ("val", "test"))
    source = TableSource(as_table(train), TablesConfig(scaling="minmax"), guess=False)
    held = TableSource(
        as_table(test[:EMBEDDED]), TablesConfig(scaling="minmax", columns=source.columns), guess=False
    )
    return source.take(np.arange(len(source))), held.take(np.arange(EMBEDDED))


def run(registers: int, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the results."""
    begun = time.process_time()
    train, held = rows(arguments.data)
    optim = dict(steps=arguments.steps, warmup_steps=arguments.steps // 30, lr=arguments.lr)
    given = {"registers": registers, "seed": seed, "optim": optim} | json.loads(arguments.model)
    method = TJEPA(from_dict(TJEPAConfig, given).fit((1, train.shape[-1])))
    optimizer, doctor = build_optimizer(method), Doctor({"model": {"optim": optim}})
    order = np.concatenate(
        [
            np.random.default_rng((seed, epoch)).permutation(len(train))
            for epoch in range(1 + arguments.steps * arguments.batch_size // len(train))
        ]
    )
    curve = []
    for step in range(arguments.steps):
        index = order[step * arguments.batch_size : (step + 1) * arguments.batch_size]
        set_schedules(optimizer, method.optim, step + 1)
        output = method(Batch(train[index], torch.from_numpy(index), step=step, seed=seed))
        output.loss.backward()
        if step % arguments.every == 0 or step == arguments.steps - 1:
            line = {"step": step, "loss": float(output.loss.detach())} | observe(output)
            doctor.see(line)
            kept = (
                "step",
                "loss",
                "target_content",
                "target_cosine",
                "target_pooled_rank",
                "prediction_match",
            )
            curve.append({name: line[name] for name in kept} | measures(method, held))
            print({name: round(value, 5) for name, value in curve[-1].items()}, file=sys.stderr, flush=True)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step)
    return {
        "registers": registers,
        "seed": seed,
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "lr": arguments.lr,
        "model": arguments.model,
        "verdict": doctor.diagnosis().verdict,
        "curve": curve,
        "cpu_minutes": (time.process_time() - begun) / 60,
        "command": " ".join(
            ["python", "benchmarks/tjepa_collapse.py", *(Path(a).name for a in sys.argv[1:])]
        ),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": f"{platform.machine()}, one thread of a shared 2-core machine, torch {torch.__version__}",
    }


def measures(method: Method, held: torch.Tensor) -> dict[str, float]:
    """The three measures of the embeddings of ``held``."""
    method.eval()
    with torch.no_grad():
        embedded = method.encode(held).tokens.flatten(1)
    method.train()
    return {name: measure(embedded) for name, measure in MEASURES.items()}


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: the measures at the start, at the lowest point of the distance, and at the end; mean and spread over seeds."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        key = tuple(record[name] for name in ("model", "steps", "batch_size", "lr", "registers"))
        groups.setdefault(key, []).append(record)
    head = ("model", "steps", "batch", "rate", "[REG]", "seeds", "when", "loss", *MEASURES, "doctor")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for (model, steps, batch, rate, registers), runs in groups.items():
        moments = {
            "start": [one["curve"][0] for one in runs],
            "lowest": [min(one["curve"], key=lambda point: point["l2"]) for one in runs],
            "end": [one["curve"][-1] for one in runs],
        }
        for when, points in moments.items():
            cells = [model, str(steps), str(batch), f"{rate:g}", str(registers), str(len(runs)), when]
            cells += [spread([point[name] for point in points]) for name in ("loss", *MEASURES)]
            cells.append(", ".join(sorted({one["verdict"] for one in runs})) if when == "end" else "")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Mean, and standard deviation where there are several."""
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else f"{values[0]:.3g}"


if __name__ == "__main__":
    main()

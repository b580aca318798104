"""What the statistics of the doctor cost: their time over that of the steps between two lines of the log.

    python benchmarks/monitor_cost.py

For each setting a training step (forward, backward, AdamW, moving average) and the statistics of a logged step (of targets,
context and predictions, and the gradient norm) are timed in turn; the share is median(statistics) / (log_every * median(step)).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch

import anyjepa
from anyjepa.contract import Batch
from anyjepa.monitoring.observe import observe
from anyjepa.training import TrainConfig
from anyjepa.training.allocator import tune_allocator
from anyjepa.training.optimizer import build_optimizer, set_schedules

RESULT = Path(__file__).parent / "results" / "monitor_cost.json"
SETTINGS = {
    # name: (method, size of the images, samples per step, fields)
    "ijepa nano 32, conv stem, batch 128": (
        "ijepa",
        32,
        128,
        dict(size="nano", stem="conv", patch_size=8, depth=2),
    ),
    "ijepa nano 32, batch 128": ("ijepa", 32, 128, dict(size="nano", patch_size=4)),
    "lejepa nano 32, batch 128": ("lejepa", 32, 128, dict(size="nano", patch_size=4)),
    "ijepa tiny 96, batch 32": ("ijepa", 96, 32, dict(size="tiny", patch_size=8)),
    "ijepa small 224, batch 8": ("ijepa", 224, 8, dict(size="small", patch_size=16)),
}


def measure(name: str, size: int, batch: int, fields: dict, repeats: int) -> tuple[float, float]:
    """Median seconds of a step and of its statistics."""
    masks = dict(masks=dict(truncate="pad", target_scale=[0.15, 0.3])) if name == "ijepa" else {}
    method = anyjepa.create(name, image_size=[size, size], optim=dict(steps=1000), **masks, **fields)
    optimizer, steps, statistics = build_optimizer(method), [], []
    for step in range(repeats + 2):
        images = torch.randn(batch, 3, size, size)
        begin = time.perf_counter()
        set_schedules(optimizer, method.optim, step + 1)
        output = method(Batch(images, torch.arange(batch), step=step))
        optimizer.zero_grad()
        output.loss.backward()
        middle = time.perf_counter()
        observe(output)
        float(torch.nn.utils.get_total_norm([p.grad for p in method.parameters() if p.grad is not None]))
        after = time.perf_counter()
        optimizer.step()
        method.after_step(step)
        statistics.append(after - middle)
        steps.append(time.perf_counter() - begin - statistics[-1])
    return median(steps[2:]), median(statistics[2:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=10)
    repeats, every = parser.parse_args().repeats, TrainConfig().log_every
    tune_allocator()
    found = {}
    for title, (name, size, batch, fields) in SETTINGS.items():
        step, statistics = measure(name, size, batch, fields, repeats)
        found[title] = {
            "step_ms": 1e3 * step,
            "statistics_ms": 1e3 * statistics,
            "share": statistics / (every * step),
        }
        share = found[title]["share"]
        print(
            f"{title}: step {1e3 * step:.0f} ms, statistics {1e3 * statistics:.1f} ms, {share:.2%} of the training"
        )
    RESULT.write_text(
        json.dumps(
            {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
                "log_every": every,
                "repeats": repeats,
                "settings": found,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()

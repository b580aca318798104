"""Time of drawing the masks of one batch: ours against the official collator, and as a share of the training step.

    python benchmarks/masks.py --official ../ijepa

The share is that of the step measured by ``ijepa_step.py`` on the same machine, if its result is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import torch

import report
from anyjepa.contract import Layout
from anyjepa.masking.multiblock import MultiBlockConfig, multiblock

STEPS = {("small-224", 16): "ijepa_step-small-224-cpu-fp32"}
"""Where the time of the step with this batch is written."""


def measure(batch: int, pairs: int) -> dict[str, Any]:
    """Both samplers in turns on a 14 x 14 grid, with the published constants."""
    from src.masks.multiblock import MaskCollator

    theirs = MaskCollator(
        input_size=224,
        patch_size=16,
        enc_mask_scale=(0.85, 1.0),
        pred_mask_scale=(0.15, 0.2),
        aspect_ratio=(0.75, 1.5),
        nenc=1,
        npred=4,
        min_keep=10,
    )
    torch.manual_seed(0)
    layout, samples, index = Layout((14, 14)), [0] * batch, np.arange(batch)
    config = MultiBlockConfig().fit(layout)
    seconds: list[tuple[float, float]] = []
    for step in range(pairs):
        start = time.perf_counter()
        theirs(samples)
        middle = time.perf_counter()
        multiblock(config, layout, seed=0, step=step, index=index)
        seconds.append((middle - start, time.perf_counter() - middle))
    seconds = seconds[3:]
    found: dict[str, Any] = {
        "official ms": round(statistics.median(a for a, _ in seconds) * 1e3, 3),
        "anyjepa ms": round(statistics.median(b for _, b in seconds) * 1e3, 3),
        "median ratio of pairs": round(statistics.median(a / b for a, b in seconds), 1),
    }
    for (setting, size), name in STEPS.items():
        path = report.RESULTS / f"{name}.json"
        if size == batch and path.is_file():
            step_ms = json.loads(path.read_text())["milliseconds"]["anyjepa"]["median"]
            found[f"share of the {setting} step"] = round(found["anyjepa ms"] / step_ms, 6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of facebookresearch/ijepa")
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    report.use_official(options.official)
    results = {f"batch {batch}": measure(batch, options.pairs) for batch in (16, 64)}
    print(json.dumps(results, indent=1))
    report.write("masks", report.machine() | {"grid": "14x14", "seed": 0, "pairs": options.pairs} | results)


if __name__ == "__main__":
    main()

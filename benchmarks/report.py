"""What every benchmark writes down: when, on which machine, with which versions; and the official code it compares with."""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def use_official(path: str) -> None:
    """Make a checkout of the official I-JEPA code importable, as the package ``src``, and keep it quiet."""
    if not (Path(path) / "src" / "helper.py").is_file():
        sys.exit(f"--official {path}: no src/helper.py there; expected a checkout of facebookresearch/ijepa")
    sys.path.insert(0, path)
    logging.disable(logging.WARNING)


def machine(device: str = "cpu") -> dict[str, Any]:
    """Date, hardware and versions."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "cores": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor()
    fields = dict(
        line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line
    )
    found = {key.strip(): value.strip() for key, value in fields.items()}
    widest = "avx512" if "avx512f" in found.get("flags", "") else "avx2"
    return f"{found.get('model name')} family {found.get('cpu family')} model {found.get('model')} ({widest})"


def write(name: str, content: dict[str, Any]) -> None:
    """Write one result to ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written: {path}")


def step(name: str, options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Print and write what a comparison of steps has found, with the options it was run with."""
    for program, spent in figures["milliseconds"].items():
        print(f"  {program:<10}{spent['median']:>10.1f} ms median{spent['best']:>10.1f} ms best")
    print(f"  ratio {figures['median ratio of pairs, official / anyjepa']}, of pairs {figures['ratios']}")
    print(f"  losses apart: {figures['largest difference of losses']}")
    run = {key: value for key, value in vars(options).items() if key not in ("official", "setting")}
    write(name + "-cputime" * (options.clock == "cpu"), machine() | {"run": run} | figures)

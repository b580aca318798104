"""The run directory: who may use it, and what it says about itself."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.training.checkpoint import FOLDER
from anyjepa.training.tensorfile import write_bytes

INFO = "run.json"
CONFIG = "config.yaml"
BROKEN = "broken.txt"
"""The samples that could not be read; those that other processes than the first met are in ``broken.rank1.txt`` and so on."""
_RUN = (CONFIG, "log.jsonl", "log.csv", FOLDER)
_OWN = (*_RUN, INFO, BROKEN, "tensorboard", "wandb")
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def first_process() -> bool:
    """Whether this is rank 0, as far as launchers tell before the processes are connected."""
    return not any(int(os.environ.get(name) or 0) for name in _RANKS)


def prepare(run: Path, overwrite: bool) -> None:
    """Make the directory of a new run. With ``overwrite`` an old run in it is deleted; other files stay.

    Raises:
        ConfigError: it holds a run, or it is a file.
    """
    if run.exists() and not run.is_dir():
        raise ConfigError(f"{run} is a file: name a directory for the run")
    if not overwrite and any((run / name).exists() for name in _RUN):
        raise ConfigError(f"{run} already holds a run: resume it, name another directory, or set overwrite")
    for path in [*(run / name for name in _OWN), *run.glob("broken.rank*.txt")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    run.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that exists whole or not at all."""
    part = path.with_name(f".{path.name}.partial")
    write_bytes(part, text.encode())
    part.replace(path)


def write_info(run: Path, **more: Any) -> None:
    """Write ``run.json``: versions, hardware, command and start of the run, and ``more``."""
    import anyjepa

    cuda = torch.cuda.is_available()
    info = {
        "id": uuid.uuid4().hex[:12],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "versions": {
            "anyjepa": anyjepa.__version__,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "lightning": version("lightning"),
            "numpy": version("numpy"),
            "python": platform.python_version(),
        },
        "hardware": {
            "system": platform.system(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        },
        **more,
    }
    write_whole(run / INFO, json.dumps(info, indent=1))


def add_info(run: Path, **more: Any) -> None:
    """Add to ``run.json``; raises CheckpointError when it is not there or torn."""
    write_whole(run / INFO, json.dumps({**read_info(run), **more}, indent=1))


def read_info(run: Path) -> dict[str, Any]:
    """What ``run.json`` says; raises CheckpointError when it is not there or torn."""
    try:
        found = json.loads((run / INFO).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run} is not a run directory: cannot read {INFO} ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{run} is not a run directory: {INFO} must hold an object, not {found!r:.40}")
    return found

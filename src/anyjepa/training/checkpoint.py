"""Checkpoints that exist whole or not at all.

    RUN/checkpoints/step-00001000/model.safetensors       every tensor of the method: both encoders and the predictor
    RUN/checkpoints/step-00001000/optimizer.safetensors   AdamW state under parameter names
    RUN/checkpoints/step-00001000/state.json              step, config, sizes and checksums of the other files

A checkpoint is written under a hidden name, brought to the disk, and renamed. Nothing in it is pickled.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anyjepa.config import from_dict, read_yaml
from anyjepa.contract import Method
from anyjepa.errors import CheckpointError
from anyjepa.registry import entry
from anyjepa.training.state import Tensors, restore_model
from anyjepa.training.tensorfile import Stamp, read_tensors, stamp, write_bytes, write_tensors

log = logging.getLogger(__name__)

FORMAT = 1
FOLDER = "checkpoints"
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class State:
    """What ``state.json`` says.

    Attributes:
        step: completed optimizer steps.
        seconds: time the run has trained so far.
        config: plain config of the run: at least ``{"method": name, "model": {...}}``.
        files: size and checksum of the other files, by name.
    """

    step: int
    seconds: float
    config: Mapping[str, Any]
    files: Mapping[str, Stamp] = field(default_factory=dict)


def save(run: Path, state: State, model: Tensors, optimizer: Tensors) -> Path:
    """Write one checkpoint of ``run`` and return its directory. One that is there for the same step is replaced.

    Raises:
        OSError: it could not be written; what there was of it is removed, older checkpoints are untouched.
    """
    folder = run / FOLDER
    name = f"step-{state.step:08d}"
    final, hidden = folder / name, folder / f".{name}.partial"
    try:
        hidden.mkdir(parents=True)
        files = {
            MODEL: write_tensors(hidden / MODEL, model),
            OPTIMIZER: write_tensors(hidden / OPTIMIZER, optimizer),
        }
        content = {
            "format": FORMAT,
            "step": state.step,
            "seconds": state.seconds,
            "config": state.config,
            "files": {file: asdict(stamped) for file, stamped in files.items()},
        }
        text = json.dumps({**content, "crc32": _crc(content)}, indent=1)
        write_bytes(hidden / STATE, text.encode())
        _sync(hidden)
        _remove(final)
        hidden.rename(final)
        _sync(folder)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return final


def _crc(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _sync(folder: Path) -> None:
    """Bring the entries of a directory to the disk (where the system lets directories be opened)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(checkpoint: Path) -> None:
    """Delete a checkpoint; killed halfway, it leaves nothing that looks like one."""
    if checkpoint.exists():
        hidden = checkpoint.with_name(f".{checkpoint.name}.old")
        shutil.rmtree(hidden, ignore_errors=True)
        checkpoint.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def find_checkpoints(run: str | Path) -> list[Path]:
    """Directories of the checkpoints of a run, newest first, not yet verified."""
    folder = Path(run) / FOLDER
    found = [p for p in folder.iterdir() if _NAME.fullmatch(p.name)] if folder.is_dir() else []
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """Completed steps according to the directory's name."""
    return int(checkpoint.name.removeprefix("step-"))


def read_state(checkpoint: Path) -> State:
    """The checked content of ``state.json``; the other files are not looked at.

    Raises:
        CheckpointError: it is missing or damaged, or its format is newer than this version knows.
    """
    file = checkpoint / STATE
    try:
        content = json.loads(file.read_text())
        crc = content.pop("crc32")
        damaged = crc != _crc(content)
        version = content.pop("format")
        stamps = {name: Stamp(**stamped) for name, stamped in content.pop("files").items()}
        state = State(**content, files=stamps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is missing or torn: {error!r}") from error
    if version > FORMAT:
        raise CheckpointError(
            f"{file} has format {version}, this version reads up to {FORMAT}: update anyjepa"
        )
    if damaged:
        raise CheckpointError(f"{file} is damaged: its checksum differs")
    return state


def verify(checkpoint: Path) -> State:
    """Check sizes and checksums of all files of a checkpoint.

    Raises:
        CheckpointError: a file is missing, torn or changed, or the format is newer than this version knows.
    """
    state = read_state(checkpoint)
    for name, stamped in state.files.items():
        file = checkpoint / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing")
        if stamp(file) != stamped:
            raise CheckpointError(f"{file} is torn or damaged: size or checksum differ")
    return state


def latest(run: str | Path) -> Path | None:
    """The newest whole checkpoint of a run; torn ones are passed over with a warning. None: there is none."""
    for checkpoint in find_checkpoints(run):
        try:
            verify(checkpoint)
        except CheckpointError as error:
            log.warning("%s; trying the checkpoint before it", error)
        else:
            return checkpoint
    return None


def rotate(run: Path, keep: int) -> None:
    """Delete all but the ``keep`` newest checkpoints."""
    for checkpoint in find_checkpoints(run)[keep:]:
        _remove(checkpoint)


def clean(run: Path) -> None:
    """Delete what a killed process left half written or half deleted."""
    for leftover in (run / FOLDER).glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def load_method(path: str | Path) -> Method:
    """The trained method, in eval mode, on the CPU.

    Args:
        path: a run directory (its newest whole checkpoint is taken), a checkpoint directory, or any directory with
            ``config.yaml`` (keys ``method`` and ``model``) and ``model.safetensors``.

    Raises:
        CheckpointError: there is nothing to load, or it is torn or does not fit its config.
    """
    return load_with_config(path)[0]


def load_with_config(path: str | Path) -> tuple[Method, Mapping[str, Any]]:
    """As :func:`load_method`, and the plain config of the run."""
    path = Path(path)
    if (path / STATE).is_file():
        config, weights = verify(path).config, path / MODEL
    elif (newest := latest(path)) is not None:
        config, weights = verify(newest).config, newest / MODEL
    elif (path / "config.yaml").is_file() and (path / MODEL).is_file():
        config, weights = read_yaml(path / "config.yaml"), path / MODEL
    else:
        raise CheckpointError(
            f"{path} holds no whole checkpoint: expected a run directory, a checkpoint directory, or a directory "
            f"with config.yaml and {MODEL}"
        )
    if "method" not in config or "model" not in config:
        raise CheckpointError(f"the config in {path} must name 'method' and 'model', it has {sorted(config)}")
    found = entry(config["method"])
    method = found.method(from_dict(found.config, config["model"]))
    restore_model(method, read_tensors(weights))
    return method.eval(), config

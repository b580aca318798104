"""One way in for weights from anywhere: a run, an export, an official checkpoint, a name on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anyjepa.config import from_dict
from anyjepa.contract import Method
from anyjepa.data import ImageConfig
from anyjepa.data.modalities import modality
from anyjepa.data.video_config import VideoConfig
from anyjepa.errors import CheckpointError, ConfigError, MissingExtraError
from anyjepa.hub.official import load_official
from anyjepa.hub.official_files import read_checkpoint
from anyjepa.hub.official_video import is_video, load_official_video
from anyjepa.hub.read import Loaded, read_directory
from anyjepa.hub.write import CONFIG
from anyjepa.registry import entry
from anyjepa.training.checkpoint import load_with_config

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_OFFICIAL = (".pth.tar", ".pth", ".pt", ".tar")
_OFFICIAL_LICENCE = "cc-by-nc-4.0"
_PROGRAMS = {".onnx": "onnxruntime", ".pt2": "torch.export.load"}


def load(source: str | Path, *, revision: str | None = None, **fields: Any) -> Method:
    """A trained method, in eval mode, on the CPU. Nothing is ever unpickled.

    Args:
        source: a run directory or one of its checkpoints; a directory written by ``anyjepa export --to anyjepa``, ``hf`` or
            ``timm``, or by transformers for an ``IJepaModel``; an official file of I-JEPA, V-JEPA or V-JEPA 2 (``.pth.tar``,
            ``.pt``); or a name on the Hugging Face hub, such as ``"facebook/ijepa_vith14_1k"``, of which only JSON and
            safetensors are fetched.
        revision: branch, tag or commit on the hub; None: the main branch.
        **fields: config fields for weights that another library wrote, e.g. ``heads=3`` where they do not tell it.

    Raises:
        CheckpointError: there is nothing to load, or it is torn, or does not fit its config.
        ConfigError: a field is unknown or impossible.
    """
    return read(source, revision=revision, **fields).method


def read(source: str | Path, *, revision: str | None = None, **fields: Any) -> Loaded:
    """As :func:`load`, with what else is known about the weights."""
    path = Path(source)
    if path.is_file():
        return _file(path, fields)
    if not path.exists():
        path = _fetch(source, revision)
    elif revision is not None:
        raise ConfigError(f"revision={revision} is for names on the hub, {source} is a directory here")
    if (path / CONFIG).is_file():
        return read_directory(path, fields)
    if fields:
        raise ConfigError(f"{', '.join(sorted(fields))} cannot be chosen: the run has a config")
    method, config = load_with_config(path)
    kind = modality(entry(method.name).modality)
    return Loaded(method, True, from_dict(kind.config, dict(config.get(kind.name) or {}), f"{kind.name}."))


def _file(path: Path, fields: Mapping[str, Any]) -> Loaded:
    if path.name.endswith(_OFFICIAL):
        content = read_checkpoint(path, ("encoder", "predictor"), "an official checkpoint")
        if isinstance(content["encoder"], Mapping) and is_video(content):
            method = load_official_video(path, **fields)
            first = method.config.positions == "sincos"
            return Loaded(method, True, VideoConfig(), _OFFICIAL_LICENCE if first else "mit")
        return Loaded(load_official(path, **fields), True, ImageConfig(), _OFFICIAL_LICENCE)
    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path}: name the directory, which also holds {CONFIG}")
    if path.suffix in _PROGRAMS:
        raise CheckpointError(
            f"{path} is a program, not weights: run it with {_PROGRAMS[path.suffix]}, or load the run it was made of"
        )
    raise CheckpointError(
        f"{path} is no file to load: expected a directory, or an official checkpoint ({', '.join(_OFFICIAL)})"
    )


def _fetch(source: str | Path, revision: str | None) -> Path:
    """The local copy of a repository on the hub."""
    name = str(source)
    if isinstance(source, Path) or not _NAME.fullmatch(name):
        raise CheckpointError(
            f"{name} is not there: expected a run directory, an export, an official checkpoint, or USER/MODEL on the hub"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(
            f"{name} is not a directory here; to look on the Hugging Face hub, huggingface_hub", "hf"
        ) from None
    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=["*.json", "*.safetensors", "README.md"]
            )
        )
    except Exception as error:  # of httpx, of the hub, of the disk: whatever it is, the model is not here
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{name} is not a directory here, and could not be fetched from the Hugging Face hub: {reason[0]}"
        ) from error

"""Torch files of official training programs, of which tensors and plain values are read and nothing is unpickled."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyjepa.errors import CheckpointError

_WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.|backbone\.)+")
"""Names of DistributedDataParallel, torch.compile, and the wrapper of several masks of V-JEPA."""


def read_checkpoint(path: Path, parts: tuple[str, ...], expected: str) -> Mapping[str, Any]:
    """The content of a file, mapped from the disk, so that optimizer state costs no memory.

    Args:
        path: the file.
        parts: keys it must have.
        expected: what it should be, for messages.

    Raises:
        CheckpointError: it is not there, lacks a part, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: expected {expected} file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged file can make the reader fail in any way
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        found = (
            f"it names the Python object {refused[1]}"
            if refused
            else f"reading it gave {type(error).__name__}"
        )
        raise CheckpointError(
            f"{path} is not a torch file of tensors and plain values: {found}. Nothing is ever unpickled"
        ) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} must hold the parts {', '.join(parts)}, it holds {type(content).__name__}"
        )
    if missing := [part for part in parts if part not in content]:
        keys = [str(key) for key in content]
        raise CheckpointError(
            f"{path} has no {' and no '.join(missing)}: expected an official training checkpoint with "
            f"{', '.join(parts)}, got {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"
        )
    return content


def tensors_of(part: Any, where: str) -> dict[str, Tensor]:
    """The tensors of a part under their names without wrappers."""
    if not isinstance(part, Mapping) or not all(isinstance(t, Tensor) for t in part.values()):
        raise CheckpointError(f"{where} must be a dictionary of tensors")
    return {_WRAPPED.sub("", str(name)): tensor for name, tensor in part.items()}

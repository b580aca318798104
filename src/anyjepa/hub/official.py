"""Official I-JEPA training checkpoints: a torch file with the parts encoder, predictor and target_encoder.

Source: arXiv 2301.08243 and its released checkpoints. Names of tensors begin with ``module.``. The file also
holds the optimizer state, which is not read. The released weights are under CC BY-NC 4.0: non-commercial use.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import torch

from anyjepa.contract import Method
from anyjepa.errors import CheckpointError
from anyjepa.hub.names import OFFICIAL_ENCODER, OFFICIAL_PREDICTOR, NameMap, to_ours, to_theirs
from anyjepa.hub.official_files import read_checkpoint, tensors_of
from anyjepa.hub.parts import CONTEXT, PREDICTOR, TARGET, put_together, take_apart
from anyjepa.hub.write import write_archive

log = logging.getLogger(__name__)

_PARTS: dict[str, tuple[str, NameMap]] = {
    "encoder": (CONTEXT, OFFICIAL_ENCODER),
    "predictor": (PREDICTOR, OFFICIAL_PREDICTOR),
    "target_encoder": (TARGET, OFFICIAL_ENCODER),
}


def load_official(path: str | Path, *, image_size: tuple[int, int] | None = None, **fields: Any) -> Method:
    """I-JEPA with the weights of an official checkpoint, in eval mode, on the CPU.

    Sizes are read from the shapes. Tensors are mapped from the disk, so the optimizer state in the file costs
    no memory.

    Args:
        path: the file, e.g. ``IN1K-vit.h.14-300e.pth.tar``.
        image_size: pixels (H, W); None: that of the checkpoint (224 or 448 squared for the released ones).
        **fields: further config fields. ``heads`` (and ``predictor_heads``, if another number) cannot be read
            from weights: they follow from the width for the official sizes and must be given for others.

    Raises:
        CheckpointError: it is no such file, parts or tensors of it are missing, or it holds more than tensors
            and plain values: nothing is ever unpickled.
        ConfigError: a field is invalid.
    """
    content = read_checkpoint(Path(path), tuple(_PARTS), "an official I-JEPA checkpoint")
    _warn_licence()
    stored = {part: tensors_of(content[part], f"{path}: {part}") for part in _PARTS}
    kernel = stored["encoder"].get("patch_embed.proj.weight")
    try:
        parts = {ours: to_ours(table, stored[part]) for part, (ours, table) in _PARTS.items()}
        patch = tuple(kernel.shape[1:]) if kernel is not None else ()
        return put_together(parts, patch=patch, image_size=image_size, fields=fields)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def save_official(method: Method, path: str | Path) -> None:
    """Write an I-JEPA method as a checkpoint of the official layout, without optimizer state.

    The layout has no place for the number of heads: what reads the file must know it.

    Raises:
        ConfigError: the method has something that the layout cannot hold (registers, rotary positions).
    """
    c, parts = method.config, take_apart(method)
    patch = (c.channels, c.patch_size, c.patch_size)
    content: dict[str, Any] = {
        part: {f"module.{name}": tensor for name, tensor in to_theirs(table, parts[ours], patch).items()}
        for part, (ours, table) in _PARTS.items()
    }
    content |= {"opt": {}, "scaler": None, "epoch": 0}
    write_archive(Path(path), lambda archive: torch.save(content, archive))


@cache
def _warn_licence() -> None:
    log.warning("the official I-JEPA weights are under CC BY-NC 4.0: non-commercial use only")

"""The parts of an I-JEPA model as plain tensors: taken out of a method, or put together to one.

Position tables count as tensors here, as they do in every other layout. Ours are computed, not stored, so a
table that comes in is compared with the computed one; only an encoder table that differs is loaded, as
learned positions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.names import Tensors
from anyjepa.nn.positions import sincos_table
from anyjepa.registry import create

log = logging.getLogger(__name__)

CONTEXT, TARGET, PREDICTOR = "context_encoder", "target.copy", "predictor"
Parts = Mapping[str, Tensors]
"""Tensors of each part under its name in the method's state dict; the predictor may be absent."""

# Heads cannot be read from weights; these are the widths of the method's size table.
_SIZES = {128: "nano", 192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1408: "giant"}


def take_apart(method: Method) -> dict[str, dict[str, Tensor]]:
    """The three parts of an I-JEPA method, position tables included.

    Raises:
        ConfigError: it is another method, or it has registers, rotary or no positions, which other layouts
            cannot hold.
    """
    if method.name != "ijepa":
        raise ConfigError(f"only ijepa can be exported to this layout, got {method.name}")
    c = method.config
    if c.stem != "patch":
        raise ConfigError(f"this layout has linear patches, the model has stem={c.stem}")
    if c.registers or c.positions not in ("sincos", "learned"):
        raise ConfigError(
            "this layout has sincos or learned positions and no registers, "
            f"the model has positions={c.positions} and registers={c.registers}"
        )
    state, grid = method.state_dict(), grid_of(c.image_size, c.patch_size)
    parts = {part: _under(state, part) for part in (CONTEXT, TARGET, PREDICTOR)}
    parts[TARGET] = parts[TARGET] or dict(parts[CONTEXT])  # target=stopgrad and target=online keep no copy
    if c.positions == "sincos":
        for part in (CONTEXT, TARGET):
            parts[part]["positions.table"] = sincos_table(grid, c.dim)
    parts[PREDICTOR]["positions"] = sincos_table(grid, c.predictor_width)
    return parts


def put_together(
    parts: Parts, *, patch: tuple[int, ...], image_size: tuple[int, int] | None, fields: Mapping[str, Any]
) -> Method:
    """A method made of these parts, in eval mode; a predictor not among them starts from random weights.

    Args:
        parts: tensors under our names, encoders with ``positions.table``, the predictor with ``positions``.
        patch: (C, p, p), shape of a patch.
        image_size: pixels (H, W); None: the square that the position table is for. With sin-cos positions any
            size that the patch divides will do: the table is computed for it.
        fields: further config fields; ``heads`` is needed for a width outside the size table.

    Raises:
        CheckpointError: the parts do not fit each other, or their positions do not fit ``image_size``.
        ConfigError: a field is invalid, or given although the weights determine it.
    """
    if len(patch) != 3 or patch[1] != patch[2]:
        raise CheckpointError(f"expected a projection of square patches (C, p, p), got {patch}")
    side, context = patch[1], parts[CONTEXT]
    stored = _stored_grid(len(context["positions.table"]), side, image_size)
    image_size = image_size or (stored[0] * side, stored[1] * side)
    moved = stored != grid_of(image_size, side)
    learned = not all(_is_sincos(parts[p]["positions.table"], stored) for p in (CONTEXT, TARGET))
    if moved and learned:
        raise CheckpointError(
            f"the positions are learned for {stored[0]}x{stored[1]} tokens: use image_size="
            f"{stored[0] * side, stored[1] * side}, or train on"
        )
    if moved:
        log.info("sin-cos positions of %s tokens computed anew for images of %s", stored, image_size)
    found: dict[str, Any] = {
        "image_size": image_size,
        "channels": patch[0],
        "patch_size": side,
        "positions": "learned" if learned else "sincos",
        **_sizes(context),
    }
    if PREDICTOR in parts:
        if not _is_sincos(parts[PREDICTOR]["positions"], stored):
            raise CheckpointError(
                f"the predictor's positions are not the 2-D sin-cos table of {stored} tokens"
            )
        embed = parts[PREDICTOR]["embed.weight"]
        found |= {"predictor_width": len(embed), "predictor_depth": _depth(parts[PREDICTOR])}
    if doubled := sorted(set(found) & set(fields)):
        raise ConfigError(f"{', '.join(doubled)} cannot be chosen: the weights determine it")
    size = _SIZES.get(found["dim"])
    if size is None and "heads" not in fields:
        raise CheckpointError(
            f"the number of heads is not in the weights and {found['dim']} is no width of the size table: "
            f"{', '.join(map(str, _SIZES))}; pass heads=..."
        )
    method = create("ijepa", **{"size": size or "tiny", **found, **fields})
    _load(method, parts, computed={"positions"} if learned else {"positions", "positions.table"})
    return method.eval()


def grid_of(image_size: tuple[int, int], side: int) -> tuple[int, int]:
    """Tokens along height and width."""
    return image_size[0] // side, image_size[1] // side


def _under(state: Tensors, part: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{part}."): tensor for name, tensor in state.items() if name.startswith(f"{part}.")
    }


def _stored_grid(tokens: int, side: int, image_size: tuple[int, int] | None) -> tuple[int, int]:
    """The grid a table of ``tokens`` rows is for: that of ``image_size`` if it has as many, else a square."""
    if image_size is not None and math.prod(grid_of(image_size, side)) == tokens:
        return grid_of(image_size, side)
    if math.isqrt(tokens) ** 2 != tokens:
        raise CheckpointError(
            f"the position table has {tokens} rows, which is no square grid: pass image_size=(H, W) with "
            f"H/{side} * W/{side} = {tokens}"
        )
    return math.isqrt(tokens), math.isqrt(tokens)


def _is_sincos(table: Tensor, grid: tuple[int, int]) -> bool:
    expected = sincos_table(grid, table.shape[-1])
    tolerance = max(1e-5, 2 * torch.finfo(table.dtype).eps)  # half-precision files round the table
    return table.shape == expected.shape and torch.allclose(table.float(), expected, rtol=0, atol=tolerance)


def _depth(tensors: Tensors) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})


def _sizes(encoder: Tensors) -> dict[str, Any]:
    dim, depth = len(encoder["norm.weight"]), _depth(encoder)
    if depth == 0:
        raise CheckpointError("the encoder has no blocks")
    return {"dim": dim, "depth": depth, "mlp_ratio": len(encoder["blocks.0.mlp.fc1.weight"]) / dim}


def _load(method: Method, parts: Parts, computed: set[str]) -> None:
    """Load the parts but for the position tables that are computed."""
    own = method.state_dict()
    state = {
        f"{part}.{name}": tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
        if name not in computed and (part != TARGET or f"{part}.norm.weight" in own)
    }
    for name, tensor in own.items():
        if name.startswith(f"{PREDICTOR}.") and PREDICTOR not in parts:
            continue
        got = tuple(state[name].shape) if name in state else "nothing"
        if got != tuple(tensor.shape):
            raise CheckpointError(f"{name}: expected {tuple(tensor.shape)}, got {got}")
    if unknown := sorted(set(state) - set(own)):
        raise CheckpointError(f"the parts do not fit each other: no place for {', '.join(unknown[:3])}")
    method.load_state_dict(state, strict=False)

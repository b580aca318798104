"""Official checkpoints of V-JEPA and V-JEPA 2: torch files with the parts encoder, predictor and, in training, target_encoder.

Sources: arXiv 2404.08471 and arXiv 2506.09985 and their released checkpoints, whose tensor names begin with ``module.backbone.``.
V-JEPA stores its sin-cos positions; V-JEPA 2 turns queries and keys, and a table in its files is not used. The weights of V-JEPA
are under CC BY-NC 4.0, non-commercial use; those of V-JEPA 2 under MIT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.names import NameMap, Rule, affine, official_blocks, patches, to_ours, to_theirs
from anyjepa.hub.official_files import read_checkpoint, tensors_of
from anyjepa.hub.write import write_archive
from anyjepa.nn.positions import sincos_table
from anyjepa.registry import create

WRAP = "module.backbone."
KERNEL = "patch_embed.proj.weight"
_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1408: "giant"}
_TABLES = ("pos_embed", "predictor_pos_embed")
RELEASED_TOKENS = 10
"""Mask tokens in the released files of V-JEPA 2, of which the first is trained; V-JEPA has one of each kind of mask."""

ENCODER = NameMap(
    "official V-JEPA encoder",
    (*patches("patch_embed.proj"), *official_blocks("blocks"), *affine("norm", "norm")),
    ignored=_TABLES,
)


def predictor_map(tokens: int) -> NameMap:
    """Names of a predictor with so many mask tokens."""
    return NameMap(
        "official V-JEPA predictor",
        (
            *affine("embed", "predictor_embed"),
            Rule("mask_token", tuple(f"mask_tokens.{i}" for i in range(tokens))),
            *official_blocks("predictor_blocks"),
            *affine("norm", "predictor_norm"),
            *affine("proj", "predictor_proj"),
        ),
        ignored=_TABLES,
    )


def is_video(content: Mapping[str, Any]) -> bool:
    """Whether the encoder of a checkpoint cuts clips, whose patches have a length in time."""
    kernel = next((t for name, t in content["encoder"].items() if str(name).endswith(KERNEL)), None)
    return isinstance(kernel, Tensor) and kernel.ndim == 5


def load_official_video(path: str | Path, **fields: Any) -> Method:
    """V-JEPA with the weights of an official checkpoint, in eval mode, on the CPU.

    Sizes are read from the shapes. A file without a target encoder holds the encoder to be used, which then is both.

    Args:
        path: the file, e.g. ``vitl16.pth.tar`` or ``vitl.pt``.
        **fields: further config fields. ``frames`` (16) and ``image_size`` (from the stored positions for so many frames; without
            them 256 pixels) may be others than in the training: positions are then computed for them. ``heads`` and
            ``predictor_heads`` cannot be read from weights; they follow from the width for the official sizes. ``positions``
            says which version a file is of that has both tables and several mask tokens.

    Raises:
        CheckpointError: it is no such file, or it holds more than tensors and plain values: nothing is ever unpickled.
        ConfigError: a field is invalid, or given although the weights determine it.
    """
    content = read_checkpoint(Path(path), ("encoder", "predictor"), "an official V-JEPA checkpoint")
    try:
        return video_method(content, str(path), fields)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def video_method(content: Mapping[str, Any], where: str, fields: Mapping[str, Any]) -> Method:
    """The method of a checkpoint that has been read."""
    encoder, predictor = (tensors_of(content[part], f"{where}: {part}") for part in ("encoder", "predictor"))
    target = encoder
    if "target_encoder" in content:
        target = tensors_of(content["target_encoder"], f"{where}: target_encoder")
    kernel = encoder.get(KERNEL)
    if kernel is None or kernel.ndim != 5 or kernel.shape[3] != kernel.shape[4]:
        raise CheckpointError(f"expected a projection of tubelets (D, C, t, p, p) under {KERNEL}")
    tokens = sum(name.startswith("mask_tokens.") for name in predictor)
    if not tokens:
        raise CheckpointError("the predictor has no mask tokens: it is of another experiment")
    found = _sizes(encoder, predictor, kernel)
    if doubled := sorted(set(found) & set(fields)):
        raise ConfigError(f"{', '.join(doubled)} cannot be chosen: the weights determine it")
    sincos = "pos_embed" in encoder and "predictor_pos_embed" in predictor and tokens <= 2
    positions = fields.get("positions", "sincos" if sincos else "rotary_tiled")
    second = positions != "sincos"
    config: dict[str, Any] = dict(
        positions=positions,
        frames=16,
        mask_tokens="one" if second or tokens == 1 else "kind",
        depth_rescale=second,
        predictor_heads=12 if second else None,
        **(dict(ema=(0.99925, 0.99925)) if second else {}),
    )
    config |= found | dict(fields)
    config["image_size"] = config.get("image_size") or (
        (256, 256) if second else _stored_side(encoder, config["frames"], kernel)
    )
    if not second:
        _check_tables(encoder, predictor, config, kernel)
    size = _SIZES.get(found["dim"])
    if size is None and "heads" not in config:
        raise CheckpointError(
            f"the number of heads is not in the weights and {found['dim']} is no width of the size table: "
            f"{', '.join(map(str, _SIZES))}; pass heads=..."
        )
    if second and size == "giant":
        config.setdefault("heads", 22)
    method: Any = create("vjepa", **({"size": size or "tiny"} | config))
    parts = {
        "context_encoder": to_ours(ENCODER, encoder),
        "predictor": to_ours(predictor_map(tokens), predictor),
    }
    parts["target_encoder"] = to_ours(ENCODER, target)
    if config["mask_tokens"] == "one":
        # With frames of one length the official training asks with the first token alone.
        parts["predictor"]["mask_token"] = parts["predictor"]["mask_token"][:1]
    for part, state in parts.items():
        module = getattr(method, part)
        expected = module.state_dict()
        wrong = [name for name in expected if name not in state or state[name].shape != expected[name].shape]
        if wrong or set(state) - set(expected):
            raise CheckpointError(
                f"the parts do not fit each other: {part} has another {(wrong or ['shape'])[0]}"
            )
        module.load_state_dict(state)
    return method.eval()


def save_official_video(method: Method, path: str | Path) -> None:
    """Write a V-JEPA method as a checkpoint of the official layout, without optimizer state.

    The layout has no place for the number of heads and, with rotary positions, for the size of a clip.

    Raises:
        ConfigError: the method has something that the layout cannot hold (levels, a loss at the context).
    """
    c: Any = method.config
    if method.name != "vjepa" or c.levels or c.context_loss or c.positions == "rotary" or c.rotary_span:
        raise ConfigError(
            "official V-JEPA files hold vjepa with sincos or rotary_tiled positions, without levels and context loss"
        )
    whole: Any = method
    grid = whole.layout.grid
    patch = (c.channels, c.tubelet, c.patch_size, c.patch_size)
    predictor = dict(whole.predictor.state_dict())
    if c.positions != "sincos":
        token = predictor["mask_token"]
        predictor["mask_token"] = torch.cat(
            (token, torch.zeros_like(token).repeat(RELEASED_TOKENS - 1, 1, 1))
        )
    parts = {
        "encoder": to_theirs(ENCODER, whole.context_encoder.state_dict(), patch),
        "target_encoder": to_theirs(ENCODER, whole.target_encoder.state_dict(), patch),
        "predictor": to_theirs(predictor_map(len(predictor["mask_token"])), predictor),
    }
    if c.positions == "sincos":
        for part in ("encoder", "target_encoder"):
            parts[part]["pos_embed"] = sincos_table(grid, c.dim)[None]
        parts["predictor"]["predictor_pos_embed"] = sincos_table(grid, c.predictor_width)[None]
    content: dict[str, Any] = {
        part: {WRAP + name: tensor for name, tensor in tensors.items()} for part, tensors in parts.items()
    }
    content |= {"opt": {}, "scaler": None, "epoch": 0}
    write_archive(Path(path), lambda archive: torch.save(content, archive))


def _sizes(encoder: Mapping[str, Tensor], predictor: Mapping[str, Tensor], kernel: Tensor) -> dict[str, Any]:
    """What the shapes say."""

    def depth(tensors: Mapping[str, Tensor], blocks: str) -> int:
        return len({name.split(".")[1] for name in tensors if name.startswith(f"{blocks}.")})

    first, embed = encoder.get("blocks.0.mlp.fc1.weight"), predictor.get("predictor_embed.weight")
    if first is None or embed is None:
        raise CheckpointError("the encoder has no blocks, or the predictor has no predictor_embed.weight")
    return dict(
        dim=len(kernel),
        channels=kernel.shape[1],
        tubelet=kernel.shape[2],
        patch_size=kernel.shape[3],
        depth=depth(encoder, "blocks"),
        mlp_ratio=len(first) / len(kernel),
        predictor_width=len(embed),
        predictor_depth=depth(predictor, "predictor_blocks"),
    )


def _stored_side(encoder: Mapping[str, Tensor], frames: int, kernel: Tensor) -> tuple[int, int]:
    """Height and width for which the positions of so many frames are."""
    tokens, times = encoder["pos_embed"].shape[1], frames // kernel.shape[2]
    side = math.isqrt(tokens // max(1, times))
    if times < 1 or side * side * times != tokens:
        raise CheckpointError(
            f"the position table has {tokens} rows, which is no square grid of {times} times: pass frames=... and "
            "image_size=(H, W)"
        )
    return side * kernel.shape[3], side * kernel.shape[3]


def _check_tables(
    encoder: Mapping[str, Tensor], predictor: Mapping[str, Tensor], config: Mapping[str, Any], kernel: Tensor
) -> None:
    """Raise CheckpointError unless positions of the stored length are the sin-cos table, which is computed here."""
    grid = (
        config["frames"] // kernel.shape[2],
        config["image_size"][0] // kernel.shape[3],
        config["image_size"][1] // kernel.shape[3],
    )
    for name, tensors in (("pos_embed", encoder), ("predictor_pos_embed", predictor)):
        table = tensors[name][0].float()
        if len(table) != math.prod(grid):
            # Of another size: only the first row, which is that of the origin, can be compared.
            table, wanted = table[:1], sincos_table(grid, table.shape[1])[:1]
        else:
            wanted = sincos_table(grid, table.shape[1])
        if not torch.allclose(
            table, wanted, rtol=0, atol=max(1e-5, 2 * torch.finfo(tensors[name].dtype).eps)
        ):
            raise CheckpointError(
                f"{name} is not the sin-cos table of {grid} tokens with equal shares of the axes (uniform_power), which all "
                "released models have"
            )

"""Name maps between our tensors and other layouts. One table per layout serves both directions.

A rule says which of our tensors is which of theirs, and in which form; ``*`` is the number of a block::

    Rule("blocks.*.attn.qkv.weight", ("layers.*.attention.q_proj.weight", ...k..., ...v...))

Several names on their side are equal parts of ours, stacked along its first axis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from anyjepa.errors import CheckpointError

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Rule:
    """One line of a table.

    Attributes:
        ours: our name.
        theirs: their name, or the names of the equal parts of ours.
        form: ``"same"``; ``"kernel"``, their convolution kernel (D, C, p, p) is our matrix (D, C p p);
            ``"table"``, their positions (1, N, D) are ours (N, D).
    """

    ours: str
    theirs: tuple[str, ...]
    form: Literal["same", "kernel", "table"] = "same"


@dataclass(frozen=True)
class NameMap:
    """The table of one layout.

    Attributes:
        name: what error messages call it.
        rules: its lines.
        ignored: beginnings of their names that have no place here and are skipped.
    """

    name: str
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()


def affine(ours: str, *theirs: str) -> tuple[Rule, ...]:
    """Weight and bias of a linear layer or a norm."""
    leaves = ("weight", "bias")
    return tuple(Rule(f"{ours}.{leaf}", tuple(f"{name}.{leaf}" for name in theirs)) for leaf in leaves)


def patches(theirs: str) -> tuple[Rule, ...]:
    """The projection of patches, a convolution of theirs."""
    return (
        Rule("tokenizer.proj.weight", (f"{theirs}.weight",), "kernel"),
        Rule("tokenizer.proj.bias", (f"{theirs}.bias",)),
    )


def official_blocks(theirs: str) -> tuple[Rule, ...]:
    """The transformer blocks of the official I-JEPA and V-JEPA code."""
    parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    return tuple(rule for part in parts for rule in affine(f"blocks.*.{part}", f"{theirs}.*.{part}"))


OFFICIAL_ENCODER = NameMap(
    "official I-JEPA encoder",
    (
        *patches("patch_embed.proj"),
        Rule("positions.table", ("pos_embed",), "table"),
        *official_blocks("blocks"),
        *affine("norm", "norm"),
    ),
)
"""Also the names of timm's vision transformer without class token and head."""

TIMM_REGISTERS = (Rule("registers", ("reg_token",), "table"),)
"""What timm's vision transformer has on top of that."""

OFFICIAL_PREDICTOR = NameMap(
    "official I-JEPA predictor",
    (
        *affine("embed", "predictor_embed"),
        Rule("mask_token", ("mask_token",)),
        Rule("positions", ("predictor_pos_embed",), "table"),
        *official_blocks("predictor_blocks"),
        *affine("norm", "predictor_norm"),
        *affine("proj", "predictor_proj"),
    ),
)

PUBLISHED_ENCODER = NameMap(
    "IJepaModel in a file",
    (
        *patches("embeddings.patch_embeddings.projection"),
        Rule("positions.table", ("embeddings.position_embeddings",), "table"),
        *affine("blocks.*.norm1", "encoder.layer.*.layernorm_before"),
        *affine(
            "blocks.*.attn.qkv",
            *(f"encoder.layer.*.attention.attention.{part}" for part in ("query", "key", "value")),
        ),
        *affine("blocks.*.attn.proj", "encoder.layer.*.attention.output.dense"),
        *affine("blocks.*.norm2", "encoder.layer.*.layernorm_after"),
        *affine("blocks.*.mlp.fc1", "encoder.layer.*.intermediate.dense"),
        *affine("blocks.*.mlp.fc2", "encoder.layer.*.output.dense"),
        *affine("norm", "layernorm"),
    ),
    ignored=("pooler.", "embeddings.mask_token", "classifier."),
)
"""Names in published files: those of transformers 4, which version 5 reads and writes too."""

TRANSFORMERS_ENCODER = NameMap(
    "transformers IJepaModel",
    (
        *patches("embeddings.patch_embeddings.projection"),
        Rule("positions.table", ("embeddings.position_embeddings",), "table"),
        *affine("blocks.*.norm1", "layers.*.layernorm_before"),
        *affine("blocks.*.attn.qkv", *(f"layers.*.attention.{part}_proj" for part in "qkv")),
        *affine("blocks.*.attn.proj", "layers.*.attention.o_proj"),
        *affine("blocks.*.norm2", "layers.*.layernorm_after"),
        *affine("blocks.*.mlp.fc1", "layers.*.mlp.fc1"),
        *affine("blocks.*.mlp.fc2", "layers.*.mlp.fc2"),
        *affine("norm", "layernorm"),
    ),
    ignored=("pooler.", "embeddings.mask_token"),
)
"""Names in the memory of transformers 5."""


def to_theirs(table: NameMap, ours: Tensors, patch: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Our tensors under their names and in their form.

    Args:
        table: the layout.
        ours: our tensors, position tables included.
        patch: (C, p, p), the shape of a patch, for layouts that keep the projection as a convolution.

    Raises:
        CheckpointError: the tensors are not those of the table.
    """
    rules = _numbered(table, ours, [rule.ours for rule in table.rules])
    _compare(table, ours, [rule.ours for rule in rules])
    found: dict[str, Tensor] = {}
    for rule in rules:
        tensor = ours[rule.ours].detach()
        if rule.form == "kernel":
            tensor = tensor.unflatten(1, patch)
        elif rule.form == "table":
            tensor = tensor.unsqueeze(0)
        found.update(zip(rule.theirs, tensor.chunk(len(rule.theirs)), strict=True))
    return found


def to_ours(table: NameMap, theirs: Tensors) -> dict[str, Tensor]:
    """Their tensors under our names and in our form.

    Raises:
        CheckpointError: a tensor is missing, or there is one that the table does not know.
    """
    theirs = {name: tensor for name, tensor in theirs.items() if not name.startswith(table.ignored)}
    rules = _numbered(table, theirs, [name for rule in table.rules for name in rule.theirs])
    _compare(table, theirs, [name for rule in rules for name in rule.theirs])
    found = {}
    for rule in rules:
        parts = [theirs[name] for name in rule.theirs]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        if rule.form == "kernel":
            tensor = tensor.flatten(1)
        elif rule.form == "table":
            tensor = tensor.squeeze(0)
        found[rule.ours] = tensor
    return found


def _numbered(table: NameMap, tensors: Tensors, patterns: list[str]) -> list[Rule]:
    """The rules written out for every block that ``tensors`` has under the names ``patterns``."""
    shape = "|".join(re.escape(p).replace(r"\*", r"(?:\d+)") for p in patterns if "*" in p)
    blocks = [name for name in tensors if re.fullmatch(shape, name)]
    depth = 1 + max((int(re.findall(r"\.(\d+)\.", name)[0]) for name in blocks), default=-1)
    rules = []
    for rule in table.rules:
        if "*" not in rule.ours:
            rules.append(rule)
            continue
        for i in map(str, range(depth)):
            theirs = tuple(name.replace("*", i) for name in rule.theirs)
            rules.append(Rule(rule.ours.replace("*", i), theirs, rule.form))
    return rules


def _compare(table: NameMap, tensors: Tensors, expected: list[str]) -> None:
    missing = [name for name in expected if name not in tensors]
    unknown = sorted(set(tensors) - set(expected))
    if missing or unknown:
        raise CheckpointError(
            f"not the tensors of the {table.name}: {len(missing)} missing{_some(missing)}, "
            f"{len(unknown)} unknown{_some(unknown)}"
        )


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""

"""Signal-JEPA in braindecode's layout (``braindecode.models.SignalJEPA``), both ways.

Their model is local encoder, codes of the channels, context encoder and predictor; it has no target encoder. A model read from it
starts with a target encoder equal to the context encoder, so training can go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.names import NameMap, Rule, Tensors, to_ours, to_theirs
from anyjepa.registry import create

_NAMES = (
    "Fp1 Fp2 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 TP9 CP5 CP1 CP2 CP6 TP10 P7 P3 Pz P4 P8 PO9 O1 Oz O2 PO10 FC3 FC4 C5 "
    "C1 C2 C6 CP3 CPz CP4 P1 P2 POz FT9 FTT9h TTP7h TP7 TPP9h FT10 FTT10h TPP8h TP8 TPP10h F9 F10 AF7 AF3 AF4 AF8 PO3 PO4"
)
LEE2019 = tuple(_NAMES.split())
"""The channels of the published weights, in their order; their places are those of MNE's standard_1005 montage."""

_ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")


def _layers(ours: str, theirs: str, attentions: tuple[str, ...]) -> tuple[Rule, ...]:
    leaves = [f"{a}.{leaf}" for a in attentions for leaf in _ATTENTION]
    norms = [f"norm{i + 1}" for i in range(len(attentions) + 1)]
    leaves += [f"{part}.{leaf}" for part in ("linear1", "linear2", *norms) for leaf in ("weight", "bias")]
    layers = tuple(Rule(f"{ours}.layers.*.{leaf}", (f"{theirs}.layers.*.{leaf}",)) for leaf in leaves)
    return layers + tuple(
        Rule(f"{ours}.norm.{leaf}", (f"{theirs}.norm.{leaf}",)) for leaf in ("weight", "bias")
    )


def _local(number: int) -> NameMap:
    kernels = tuple(
        Rule(f"tokenizer.convolutions.{i}.weight", (f"feature_encoder.{i + 1}.0.weight",))
        for i in range(number)
    )
    norm = tuple(
        Rule(f"tokenizer.norm.{leaf}", (f"feature_encoder.1.2.{leaf}",)) for leaf in ("weight", "bias")
    )
    table = Rule("positions.table", ("pos_encoder.pos_encoder_spat.weight",))
    return NameMap("braindecode SignalJEPA", (*kernels, *norm, table))


_ENCODER = NameMap(
    "braindecode SignalJEPA encoder", _layers("context_encoder", "transformer.encoder", ("self_attn",))
)
_PREDICTOR = NameMap(
    "braindecode SignalJEPA decoder",
    _layers("predictor", "transformer.decoder", ("self_attn", "multihead_attn")),
)


def to_braindecode(method: Method) -> dict[str, Tensor]:
    """The tensors of an S-JEPA under the names of braindecode's ``SignalJEPA``; the target encoder is left out.

    Raises:
        ConfigError: it is another method, or its code has time first, which their layout does not know.
    """
    if method.name != "sjepa":
        raise ConfigError(f"only sjepa can be exported to this layout, got {method.name}")
    if method.config.time_first:
        raise ConfigError(
            "this layout has the code of time in the last dimensions, the model has time_first=true"
        )
    state = method.state_dict()
    maps = (_local(len(method.config.local)), _ENCODER, _PREDICTOR)
    starts = (("tokenizer.", "positions."), ("context_encoder.",), ("predictor.",))
    found: dict[str, Tensor] = {}
    for table, start in zip(maps, starts, strict=True):
        found |= to_theirs(table, {k: v for k, v in state.items() if k.startswith(start)})
    return found


def from_braindecode(
    tensors: Tensors,
    channels: Iterable[str] = LEE2019,
    *,
    positions: Iterable[Iterable[float]] | np.ndarray,
    **fields: Any,
) -> Method:
    """An S-JEPA with the weights of braindecode's ``SignalJEPA``, in eval mode.

    Args:
        tensors: its state dict.
        channels: names of the rows of its channel table.
        positions: (C, 3) in metres, for the masks of further training; the codes of the channels are in the weights.
        **fields: further config fields that the weights do not determine: ``samples``, ``heads`` (8 unless given), ``masks``, ...

    Raises:
        CheckpointError: these are not the tensors of a SignalJEPA, or not for these channels.
        ConfigError: a field is invalid, or given although the weights determine it.
    """
    depth = {part: _count(tensors, f"transformer.{part}.layers.") for part in ("encoder", "decoder")}
    convolutions = [k for k in tensors if k.startswith("feature_encoder.") and k.endswith(".0.weight")]
    table = tensors.get("pos_encoder.pos_encoder_spat.weight")
    if table is None or not convolutions or not all(depth.values()):
        raise CheckpointError(
            "not the weights of braindecode's SignalJEPA: expected feature_encoder.*, pos_encoder.pos_encoder_spat.weight, "
            "transformer.encoder.* and transformer.decoder.*"
        )
    names = tuple(channels)
    if len(names) != len(table):
        raise CheckpointError(f"the weights have {len(table)} channels, {len(names)} names were given")
    kernels = [tensors[f"feature_encoder.{i + 1}.0.weight"].shape for i in range(len(convolutions))]
    # Strides cannot be read from weights: those of the published model.
    strides = (8, *(2 for _ in kernels[1:]))
    hidden = tensors["transformer.encoder.layers.0.linear1.weight"].shape[0]
    found = {
        "local": tuple((w, k, s) for (w, _, k), s in zip(kernels, strides, strict=True)),
        "dim": kernels[-1][0],
        "spatial": table.shape[1],
        "depth": depth["encoder"],
        "predictor_depth": depth["decoder"],
        "hidden": hidden,
        "channels": names,
        "positions": [[] if any(v != v for v in row) else [float(v) for v in row] for row in positions],
    }
    if doubled := sorted(set(found) & set(fields)):
        raise ConfigError(f"{', '.join(doubled)} cannot be chosen: the weights determine it")
    state: dict[str, Tensor] = {}
    starts = (("feature_encoder.", "pos_encoder."), ("transformer.encoder.",), ("transformer.decoder.",))
    for names_map, start in zip((_local(len(kernels)), _ENCODER, _PREDICTOR), starts, strict=True):
        state |= to_ours(names_map, {k: v for k, v in tensors.items() if k.startswith(start)})
    method = create("sjepa", **found, **fields)
    own = method.state_dict()
    for name in list(state):
        if name.startswith("context_encoder.") and (twin := f"target.copy.{name[16:]}") in own:
            state[twin] = state[name]
    for name, tensor in own.items():
        if tuple(state[name].shape) != tuple(tensor.shape):
            raise CheckpointError(f"{name}: expected {tuple(tensor.shape)}, got {tuple(state[name].shape)}")
    method.load_state_dict(state)
    return method.eval()


def load_braindecode(
    path: str | Path,
    channels: Iterable[str] = LEE2019,
    *,
    positions: Iterable[Iterable[float]] | np.ndarray,
    **fields: Any,
) -> Method:
    """:func:`from_braindecode` of a downloaded ``model.safetensors``, or of a ``.pth`` file of plain tensors.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    from safetensors.torch import load_file

    try:
        if Path(path).suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"cannot read the weights {path}: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise CheckpointError(f"{path} does not hold a state dict of tensors")
    return from_braindecode(tensors, channels, positions=positions, **fields)


def _count(tensors: Tensors, start: str) -> int:
    return len({name[len(start) :].split(".")[0] for name in tensors if name.startswith(start)})

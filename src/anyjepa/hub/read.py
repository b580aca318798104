"""Exported directories back: ours, and those with an I-JEPA encoder under the names of transformers or timm.

Only JSON and safetensors are read. Sizes in config.json are compared with the tensors before anything is built, so that a
wrong number is an error and not a request for all memory.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from anyjepa.bundle import described
from anyjepa.config import from_dict
from anyjepa.contract import Method
from anyjepa.data import ImageConfig
from anyjepa.data.modalities import modality
from anyjepa.data.modality import Modality
from anyjepa.errors import AnyjepaError, CheckpointError, ConfigError
from anyjepa.hub.encoder import encoder_of, fill_encoder
from anyjepa.hub.names import OFFICIAL_ENCODER, PUBLISHED_ENCODER, TIMM_REGISTERS, NameMap, to_ours
from anyjepa.hub.parts import CONTEXT, TARGET, put_together
from anyjepa.hub.write import CARD, CONFIG, WEIGHTS
from anyjepa.normalisation import constants
from anyjepa.registry import entry
from anyjepa.training.state import restore_model
from anyjepa.training.tensorfile import read_tensors

log = logging.getLogger(__name__)

INDEX = f"{WEIGHTS}.index.json"
MOST_TOKENS = 1 << 16
MOST_REST = 1 << 10
MOST_VALUES = 1 << 26
"""Limits for what a config can ask for: tokens; blocks, or 2^21 parameters, beside the encoder; values of a part of a sample."""
_TRANSFORMERS = ("image_size", "patch_size", "num_channels", "num_attention_heads")
_TIMM = ("img_size", "patch_size", "in_chans", "num_heads")
Pixels = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Loaded:
    """A method and what is known about it."""

    method: Method
    """In eval mode, on the CPU."""
    whole: bool
    """Whether all its weights come from the source; False: only the encoders, the rest is random."""
    reading: Any
    """How samples became its input, of the class that belongs to the kind of data; of weights from elsewhere no more is known
    than the normalisation."""
    licence: str | None = None
    """Licence of the weights, as far as the source says."""

    @property
    def modality(self) -> Modality:
        """The kind of data it is for."""
        return modality(entry(self.method.name).modality)

    @property
    def given(self) -> str:
        """What its input is, in words."""
        shape = f"{described(self.method.input_shape())} ({self.modality.axes})"
        if not isinstance(self.reading, ImageConfig):
            return shape
        mean, std = self.pixels
        return f"{shape}, pixels in 0..1 less mean {list(mean)}, over std {list(std)}"

    @property
    def pixels(self) -> Pixels:
        """Mean and standard deviation of each channel that the input is normalised with, for pixels in 0..1.

        Raises:
            ConfigError: it is not for images.
        """
        if not isinstance(self.reading, ImageConfig):
            raise ConfigError(f"{self.method.name} is for {self.modality.name}: this layout is for images")
        return constants(self.method.input_shape()[0], self.reading.mean, self.reading.std)


def read_directory(path: Path, fields: Mapping[str, Any]) -> Loaded:
    """The method in an exported directory.

    Args:
        path: directory with config.json and model.safetensors.
        fields: config fields for an encoder that another library wrote.

    Raises:
        CheckpointError: a file is missing, damaged, or of a layout that is not known.
        ConfigError: a field of the config is unknown or impossible.
    """
    config = _json(path / CONFIG)
    tensors = _tensors(path)
    about = config.get("anyjepa")
    try:
        kind = _kind(config)
        if about is not None and fields:
            raise CheckpointError(f"{', '.join(sorted(fields))} cannot be chosen: {CONFIG} says it all")
        if kind == "anyjepa":
            method = _build(about, tensors)
            restore_model(method, tensors)
        else:
            encoder = _encoder(config, kind, tensors)
            method = _foreign(config, kind, encoder, fields) if about is None else _build(about, encoder)
            if about is not None:
                for role in ("context", "target"):
                    fill_encoder(encoder_of(method, role), encoder)
        reading = _reading(method, about)
        if reading is not None:
            return Loaded(method.eval(), kind == "anyjepa", reading, _licence(path))
        values = about or config.get("pretrained_cfg") or {}
        mean, std = _numbers(values.get("mean"), "mean"), _numbers(values.get("std"), "std")
        if not all(s > 0 for s in std or ()):
            raise CheckpointError(f"std must be positive, got {std}")
        # Raises when they are not as many as the channels.
        constants(method.input_shape()[0], mean, std)
    except AnyjepaError as error:
        raise type(error)(f"{path}: {error}") from None
    return Loaded(method.eval(), kind == "anyjepa", ImageConfig(mean=mean, std=std), _licence(path))


def _reading(method: Method, about: Any) -> Any:
    """How samples become input, where the directory says it; None: images, of which only the normalisation is known."""
    kind = modality(entry(method.name).modality)
    values = about.get(kind.name) if isinstance(about, Mapping) else None
    if values is None:
        return None if kind.config is ImageConfig else kind.config()
    if not isinstance(values, dict):
        raise CheckpointError(f"{CONFIG}: {kind.name} must be a group of keys, got {values!r}")
    return from_dict(kind.config, values, f"{kind.name}.")


def _kind(config: Mapping[str, Any]) -> str:
    model = config.get("model_type")
    if model == "anyjepa":
        if config.get("format") != 1:
            raise CheckpointError(
                f"{CONFIG} has format {config.get('format')!r}, this version reads 1: update anyjepa"
            )
        return "anyjepa"
    if model == "ijepa":
        return "transformers"
    if isinstance(config.get("architecture"), str) and config["architecture"].startswith("vit_"):
        return "timm"
    raise CheckpointError(
        f"{CONFIG} must be of anyjepa (model_type=anyjepa), of transformers' IJepaModel (model_type=ijepa) or of a timm "
        f"vit_*, it has model_type={model!r}, architecture={config.get('architecture')!r}"
    )


def _encoder(config: Mapping[str, Any], kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors under our names."""
    if kind == "transformers":
        if config.get("hidden_act", "gelu") != "gelu" or config.get("qkv_bias", True) is not True:
            raise CheckpointError(
                "I-JEPA has hidden_act=gelu and qkv_bias=true, "
                f"{CONFIG} has hidden_act={config.get('hidden_act')} and qkv_bias={config.get('qkv_bias')}"
            )
        # A classifier keeps its encoder under a name of its own.
        tensors = {name.removeprefix("ijepa."): tensor for name, tensor in tensors.items()}
        table: NameMap = PUBLISHED_ENCODER
    else:
        rules = (*OFFICIAL_ENCODER.rules, *(TIMM_REGISTERS if "reg_token" in tensors else ()))
        table = NameMap("timm VisionTransformer", rules, ignored=("head.",))
    for name in ("embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight"):
        if name in tensors and tensors[name].ndim != 4:
            raise CheckpointError(f"{name} must be (D, C, p, p), got {tuple(tensors[name].shape)}")
    return to_ours(table, tensors)


def _foreign(
    config: Mapping[str, Any], kind: str, encoder: Mapping[str, Tensor], fields: Mapping[str, Any]
) -> Method:
    """I-JEPA with an encoder that another library wrote, as both encoders."""
    args = (config.get("model_args") or {}) if kind == "timm" else config
    names = _TIMM if kind == "timm" else _TRANSFORMERS
    given = args.get(names[0])
    size = given if isinstance(given, list) and len(given) == 2 else [given, given]
    values: dict[str, Any] = {names[0]: size[0], f"{names[0]} (width)": size[1], names[1]: args.get(names[1])}
    values |= {names[2]: args.get(names[2], 3), names[3]: args.get(names[3])}
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 16:
            raise CheckpointError(f"{CONFIG}: {name} must be a whole number from 1 to 65536, got {value!r}")
    height, width, side, channels, heads = (int(value) for value in values.values())
    if channels * side * side != encoder["tokenizer.proj.weight"].shape[1]:
        raise CheckpointError(
            f"{CONFIG} says {channels} channels and patches of {side}, the projection has "
            f"{encoder['tokenizer.proj.weight'].shape[1]} values"
        )
    if kind == "transformers" and (eps := config.get("layer_norm_eps", 1e-12)) != 1e-6:
        log.warning("layer_norm_eps %g becomes %g: tokens will differ slightly", eps, 1e-6)
    return put_together(
        {CONTEXT: encoder, TARGET: encoder},
        patch=(channels, side, side),
        image_size=(height, width),
        fields={"heads": heads, "registers": len(encoder.get("registers", ())), **fields},
    )


def _build(about: Any, tensors: Mapping[str, Tensor]) -> Method:
    """The method that our part of a config describes, with random weights."""
    if not isinstance(about, Mapping) or not isinstance(about.get("model"), Mapping):
        raise CheckpointError(f"{CONFIG} has no group 'anyjepa' with 'method' and 'model'")
    found, model = entry(str(about.get("method"))), about["model"]
    config: Any = from_dict(found.config, dict(model))
    _check_sizes(config, tensors)
    return found.method(config)


def _check_sizes(config: Any, tensors: Mapping[str, Tensor]) -> None:
    """Refuse numbers that cannot be those of the tensors, or that no machine could build the rest of the method with."""

    def value(name: str) -> Any:
        return getattr(config, name, None) or 0

    longest = max((max(t.shape, default=0) for t in tensors.values()), default=0)
    numbers = (
        "tasks",
        "chunk",
        "horizon",
        "state_size",
        "action_size",
        "latent",
        "style_depth",
        "decoder_depth",
    )
    for name in ("dim", "depth", "heads", "mlp_ratio", "registers", *numbers):
        least = 0 if name in ("registers", "latent") else 1e-3
        if getattr(config, name, None) is not None and not least <= value(name) <= max(longest, len(tensors)):
            raise CheckpointError(
                f"{CONFIG} says {name}={value(name)}, the longest axis of a tensor is {longest}"
            )
    names = ("predictor_width", "predictor_depth", "hidden", "projection")
    width, depth, hidden, projection = (value(name) for name in names)
    rest = 12 * width**2 * depth + hidden * (value("dim") + hidden + projection)
    if min(width, depth, hidden, projection) < 0 or max(depth, rest >> 21) > MOST_REST:
        given = ", ".join(f"{name}={value(name)}" for name in names if value(name))
        raise CheckpointError(f"{CONFIG} says {given}, which cannot be built")
    if isinstance(config.default_shape, dict):
        for name, part in config.default_shape.items():
            if min(part) < 1 or math.prod(part) > MOST_VALUES:
                raise CheckpointError(
                    f"{CONFIG} says '{name}' of {part}: from 1 to {MOST_VALUES} values can be read"
                )
        return
    (_, *sides), patch = config.default_shape, getattr(config, "patch_size", None) or 1
    # Patches of images are squares, all others are cut along the last axis.
    area = patch ** (2 if hasattr(config, "image_size") else 1)
    if min(*sides, patch) < 1 or math.prod(sides) // area > MOST_TOKENS:
        raise CheckpointError(
            f"{CONFIG} says samples of {tuple(sides)} in patches of {patch}: from 1 to {MOST_TOKENS} tokens can be built"
        )


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text())
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} must hold names and values, it holds {type(values).__name__}")
    return values


def _tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of model.safetensors, or of the files its index names."""
    if not (path / INDEX).is_file() or (path / WEIGHTS).is_file():
        if not (path / WEIGHTS).is_file():
            raise CheckpointError(f"{path} has no {WEIGHTS}: only safetensors files are read")
        return read_tensors(path / WEIGHTS)
    where = _json(path / INDEX).get("weight_map")
    files = list(where.values()) if isinstance(where, dict) else []
    if not files or not all(isinstance(f, str) and Path(f).name == f for f in files):
        raise CheckpointError(f"{path / INDEX} has no 'weight_map' to files beside it")
    return {name: tensor for file in sorted(set(files)) for name, tensor in read_tensors(path / file).items()}


def _numbers(values: Any, name: str) -> tuple[float, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
        raise CheckpointError(f"{CONFIG}: {name} must be a list of numbers, got {values!r}")
    return tuple(float(v) for v in values)


def _licence(path: Path) -> str | None:
    """The licence in the front matter of the model card."""
    try:
        lines = (path / CARD).read_text(errors="replace").splitlines()[:50]
    except OSError:
        return None
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return found[0] if found and found[0] != "unknown" else None

"""Directories with config.json and model.safetensors: what is written into them for each reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from anyjepa.config import to_dict
from anyjepa.data import ImageConfig
from anyjepa.hub.encoder import encoder_of, encoder_tensors
from anyjepa.hub.names import OFFICIAL_ENCODER, PUBLISHED_ENCODER, TIMM_REGISTERS, NameMap, to_theirs
from anyjepa.hub.read import Loaded
from anyjepa.hub.write import CONFIG, PREPROCESSOR, WEIGHTS, Content
from anyjepa.nn.transformer import Encoder

EPS = 1e-6
"""Epsilon of all layer norms of the encoder."""
BILINEAR = 2
"""Pillow's number for it."""


def hf_files(loaded: Loaded, encoder: str) -> dict[str, Content]:
    """What ``transformers.AutoModel`` and ``AutoImageProcessor`` read.

    Raises:
        ConfigError: the encoder has something that IJepaModel has not.
    """
    method = loaded.method
    tensors = encoder_tensors(method, encoder, "transformers IJepaModel")
    module = encoder_of(method, encoder)
    size, channels, patch = _shape(module)
    config = {
        "architectures": ["IJepaModel"],
        "model_type": "ijepa",
        **_sizes(
            module, tensors, "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"
        ),
        "image_size": list(size),
        "patch_size": patch,
        "num_channels": channels,
        "hidden_act": "gelu",
        "layer_norm_eps": EPS,
        "qkv_bias": True,
        "attention_probs_dropout_prob": 0.0,
        "hidden_dropout_prob": 0.0,
        "dtype": "float32",
        "anyjepa": describe(loaded, encoder),
    }
    return {
        WEIGHTS: to_theirs(PUBLISHED_ENCODER, tensors, (channels, patch, patch)),
        PREPROCESSOR: _text(_processor(loaded, size, channels)),
        CONFIG: _text(config),
    }


def timm_files(loaded: Loaded, encoder: str) -> dict[str, Content]:
    """What ``timm.create_model("local-dir:DIRECTORY", pretrained=True)`` reads.

    Raises:
        ConfigError: the encoder has something that timm's VisionTransformer has not.
    """
    tensors = encoder_tensors(loaded.method, encoder, "timm VisionTransformer", registers=True)
    module = encoder_of(loaded.method, encoder)
    size, channels, patch = _shape(module)
    sizes = _sizes(module, tensors, "embed_dim", "depth", "num_heads", "hidden")
    mean, std = loaded.pixels
    config = {
        # Any vision transformer would do for a name: the arguments say all that it stands for.
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 0,
        "num_features": sizes["embed_dim"],
        "global_pool": "avg",
        "model_args": {
            "img_size": list(size),
            "patch_size": patch,
            "in_chans": channels,
            "embed_dim": sizes["embed_dim"],
            "depth": sizes["depth"],
            "num_heads": sizes["num_heads"],
            "mlp_ratio": _ratio(sizes["hidden"], sizes["embed_dim"]),
            "class_token": False,
            "reg_tokens": 0 if module.registers is None else len(module.registers),
            "no_embed_class": True,
            "global_pool": "avg",
            # False: the norm comes before the mean over the tokens, as in encode.
            "fc_norm": False,
            "num_classes": 0,
        },
        "pretrained_cfg": {
            "input_size": [channels, *size],
            "fixed_input_size": True,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(mean),
            "std": list(std),
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
        "anyjepa": describe(loaded, encoder),
    }
    table = timm_table(module.registers is not None)
    return {WEIGHTS: to_theirs(table, tensors, (channels, patch, patch)), CONFIG: _text(config)}


def own_files(loaded: Loaded) -> dict[str, Content]:
    """Everything of a method, for :func:`anyjepa.load`: nothing is lost but the optimizer."""
    config = {"model_type": "anyjepa", "format": 1, "anyjepa": describe(loaded, None)}
    state = {name: tensor.detach().cpu() for name, tensor in loaded.method.state_dict().items()}
    return {WEIGHTS: state, CONFIG: _text(config)}


def timm_table(registers: bool) -> NameMap:
    """Names of timm's vision transformer without class token and head."""
    rules = (*OFFICIAL_ENCODER.rules, *(TIMM_REGISTERS if registers else ()))
    return replace(OFFICIAL_ENCODER, name="timm VisionTransformer", rules=rules)


def describe(loaded: Loaded, encoder: str | None) -> dict[str, Any]:
    """What :func:`anyjepa.load` needs beside the tensors. No paths: the directory may be published."""
    import anyjepa

    about = {"version": anyjepa.__version__, "method": loaded.method.name, "encoder": encoder}
    return {**about, **_reading(loaded), "model": to_dict(loaded.method.config)}


def _reading(loaded: Loaded) -> dict[str, Any]:
    # Kinds of data that read images in a way of their own have more to tell.
    if type(loaded.reading) is ImageConfig:
        mean, std = loaded.pixels
        return {"mean": list(mean), "std": list(std)}
    return {loaded.modality.name: loaded.modality.published(loaded.reading)}


def _shape(module: Encoder) -> tuple[tuple[int, ...], int, int]:
    """Image size, channels and side of a patch."""
    return module.tokenizer.size, module.tokenizer.channels, module.tokenizer.patch[0]


def _sizes(module: Encoder, tensors: Mapping[str, Tensor], *names: str) -> dict[str, int]:
    """Width, depth, heads and hidden width, under these names."""
    first: Any = module.blocks[0]
    hidden = len(tensors["blocks.0.mlp.fc1.weight"])
    values = (len(tensors["norm.weight"]), len(module.blocks), first.attn.heads, hidden)
    return dict(zip(names, values, strict=True))


def _ratio(hidden: int, dim: int) -> float:
    """The ratio of which timm, which cuts the product off, makes ``hidden``."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else (hidden + 0.5) / dim


def _processor(loaded: Loaded, size: tuple[int, ...], channels: int) -> dict[str, Any]:
    mean, std = loaded.pixels
    square = size[0] == size[1]
    crop = {"height": size[0], "width": size[1]}
    return {
        # Square input: the middle of the image, as our evaluation takes it. Otherwise the whole image is squeezed, since
        # no processor of transformers cuts to an aspect.
        "image_processor_type": "CLIPImageProcessor" if square else "ViTImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size[0]} if square else crop,
        "resample": BILINEAR,
        **({"do_center_crop": True, "crop_size": crop} if square else {}),
        "do_convert_rgb": channels == 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"

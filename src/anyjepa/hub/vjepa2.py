"""V-JEPA 2 to and from Hugging Face transformers (``VJEPA2Model``): encoder and predictor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, ConfigError, MissingExtraError
from anyjepa.hub.names import NameMap, Rule, affine, patches, to_ours, to_theirs
from anyjepa.registry import create, entry

if TYPE_CHECKING:
    from transformers import VJEPA2Model

EPS = 1e-6


def _blocks(theirs: str) -> tuple[Rule, ...]:
    same = ("norm1", "norm2", "mlp.fc1", "mlp.fc2")
    return (
        *(rule for part in same for rule in affine(f"blocks.*.{part}", f"{theirs}.*.{part}")),
        *affine("blocks.*.attn.qkv", *(f"{theirs}.*.attention.{part}" for part in ("query", "key", "value"))),
        *affine("blocks.*.attn.proj", f"{theirs}.*.attention.proj"),
    )


ENCODER = NameMap(
    "transformers VJEPA2Model's encoder",
    (*patches("embeddings.patch_embeddings.proj"), *_blocks("layer"), *affine("norm", "layernorm")),
)
PREDICTOR = NameMap(
    "transformers VJEPA2Model's predictor",
    (
        *affine("embed", "embeddings.predictor_embeddings"),
        Rule("mask_token", ("embeddings.mask_tokens",)),
        *_blocks("layer"),
        *affine("norm", "layernorm"),
        *affine("proj", "proj"),
    ),
)


def from_vjepa2(model: VJEPA2Model | str | Path, *, mask_token: int = 1, **fields: Any) -> Method:
    """V-JEPA with a ``VJEPA2Model`` as both encoders and as predictor, in eval mode.

    Args:
        model: the model, or what ``VJEPA2Model.from_pretrained`` takes: a directory or a name on the Hugging Face hub. Only
            safetensors files are read.
        mask_token: which of its mask tokens is kept: transformers predicts with number 1.
        **fields: further config fields, e.g. ``image_size``: rotary positions take any.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: it cannot be loaded, or computes something else than V-JEPA 2.
        ConfigError: a field is invalid.
    """
    transformers = _transformers()
    if isinstance(model, (str, Path)):
        try:
            model = transformers.VJEPA2Model.from_pretrained(model, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{model} holds no VJEPA2Model as safetensors: {error}") from error
    if not isinstance(model, transformers.VJEPA2Model):
        raise CheckpointError(f"expected a transformers VJEPA2Model, got {type(model).__name__}")
    c = model.config
    if c.hidden_act != "gelu" or not c.qkv_bias:
        raise CheckpointError(
            f"V-JEPA 2 has hidden_act=gelu and qkv_bias=True, the model has {c.hidden_act} and {c.qkv_bias}"
        )
    side = (c.crop_size, c.crop_size) if isinstance(c.crop_size, int) else tuple(c.crop_size)
    read: dict[str, Any] = dict(
        frames=c.frames_per_clip,
        image_size=side,
        channels=c.in_chans,
        tubelet=c.tubelet_size,
        patch_size=c.patch_size,
        dim=c.hidden_size,
        depth=c.num_hidden_layers,
        heads=c.num_attention_heads,
        mlp_ratio=c.mlp_ratio,
        positions="rotary_tiled",
        predictor_width=c.pred_hidden_size,
        predictor_depth=c.pred_num_hidden_layers,
        predictor_heads=c.pred_num_attention_heads,
        mask_tokens="one",
        depth_rescale=True,
        ema=(0.99925, 0.99925),
    )
    method: Any = create("vjepa", entry("vjepa").config(**(read | fields)))
    tensors = model.state_dict()
    encoder = to_ours(ENCODER, _below(tensors, "encoder."))
    predictor = to_ours(PREDICTOR, _below(tensors, "predictor."))
    predictor["mask_token"] = predictor["mask_token"][mask_token]
    for part, state in (
        (method.context_encoder, encoder),
        (method.target_encoder, encoder),
        (method.predictor, predictor),
    ):
        part.load_state_dict(state)
    return method.eval()


def to_vjepa2(method: Method, encoder: Literal["target", "context"] = "target") -> VJEPA2Model:
    """One of the encoders and the predictor as ``transformers.VJEPA2Model``, in eval mode.

    Args:
        method: V-JEPA as V-JEPA 2 has it: ``positions=rotary_tiled``, one mask token, one level.
        encoder: which of its encoders.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: the method has something that the layout cannot hold.
    """
    transformers = _transformers()
    c = method.config
    if method.name != "vjepa" or c.positions != "rotary_tiled" or c.levels or c.context_loss or c.rotary_span:
        raise ConfigError(
            "VJEPA2Model holds V-JEPA with positions=rotary_tiled, no levels and no context loss"
        )
    if c.image_size[0] != c.image_size[1]:
        raise ConfigError(f"VJEPA2Model takes square frames, the method takes {c.image_size}")
    config = transformers.VJEPA2Config(
        frames_per_clip=c.frames,
        crop_size=c.image_size[0],
        in_chans=c.channels,
        tubelet_size=c.tubelet,
        patch_size=c.patch_size,
        hidden_size=c.dim,
        num_hidden_layers=c.depth,
        num_attention_heads=c.heads,
        mlp_ratio=c.mlp_ratio,
        pred_hidden_size=c.predictor_width,
        pred_num_hidden_layers=c.predictor_depth,
        pred_num_attention_heads=c.predictor_heads,
        pred_num_mask_tokens=2,
        layer_norm_eps=EPS,
    )
    model = transformers.VJEPA2Model(config)
    patch = (c.channels, c.tubelet, c.patch_size, c.patch_size)
    whole: Any = method
    predictor = {**whole.predictor.state_dict()}
    # Their predictor asks with number 1, and never with number 0.
    predictor["mask_token"] = predictor["mask_token"][:1, None].expand(2, -1, -1, -1)
    tensors = whole.encoder_module(encoder).state_dict()
    state = {f"encoder.{name}": value for name, value in to_theirs(ENCODER, tensors, patch).items()}
    state |= {f"predictor.{k}": v for k, v in to_theirs(PREDICTOR, predictor).items()}
    model.load_state_dict(state)
    return model.eval()


def _below(tensors: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "hf") from None
    return transformers

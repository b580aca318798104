"""I-JEPA encoders to and from Hugging Face transformers (``IJepaModel``, transformers 5)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, MissingExtraError
from anyjepa.hub.encoder import encoder_tensors
from anyjepa.hub.names import TRANSFORMERS_ENCODER, to_ours, to_theirs
from anyjepa.hub.parts import CONTEXT, TARGET, put_together

if TYPE_CHECKING:
    from transformers import IJepaModel

log = logging.getLogger(__name__)

EPS = 1e-6
"""Epsilon of the encoder's layer norms, as in the official code; the default of transformers is another."""


def to_transformers(method: Method, encoder: Literal["target", "context"] = "target") -> IJepaModel:
    """An encoder as ``transformers.IJepaModel``, in eval mode.

    ``model(images).last_hidden_state`` are its tokens.

    Args:
        method: I-JEPA, or another method with the same vision transformer.
        encoder: which of its encoders; a predictor has no place there.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: the method has something that the layout cannot hold (registers, rotary positions).
    """
    transformers = _transformers()
    tensors = encoder_tensors(method, encoder, "transformers IJepaModel")
    c = method.config
    config = transformers.IJepaConfig(
        hidden_size=c.dim,
        num_hidden_layers=c.depth,
        num_attention_heads=c.heads,
        intermediate_size=len(tensors["blocks.0.mlp.fc1.weight"]),
        image_size=list(c.image_size),
        patch_size=c.patch_size,
        num_channels=c.channels,
        hidden_act="gelu",
        layer_norm_eps=EPS,
        qkv_bias=True,
    )
    model = transformers.IJepaModel(config, add_pooling_layer=False)
    patch = (c.channels, c.patch_size, c.patch_size)
    model.load_state_dict(to_theirs(TRANSFORMERS_ENCODER, tensors, patch))
    return model.eval()


def from_transformers(model: IJepaModel | str | Path, **fields: Any) -> Method:
    """I-JEPA with an ``IJepaModel`` as both encoders and a random predictor, in eval mode.

    Args:
        model: the model, or what ``IJepaModel.from_pretrained`` takes: a directory, or a name on the Hugging
            Face hub. Only safetensors files are read. Weights converted from the official ones keep their
            licence, CC BY-NC 4.0.
        **fields: further config fields, e.g. those of the predictor.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: it cannot be loaded, or computes something else than I-JEPA's encoder.
        ConfigError: a field is invalid.
    """
    transformers = _transformers()
    if isinstance(model, (str, Path)):
        model = _read(transformers, model)
    if not isinstance(model, transformers.IJepaModel):
        raise CheckpointError(f"expected a transformers IJepaModel, got {type(model).__name__}")
    config = model.config
    if config.hidden_act != "gelu" or not config.qkv_bias:
        raise CheckpointError(
            "I-JEPA has hidden_act=gelu and qkv_bias=True, "
            f"the model has hidden_act={config.hidden_act} and qkv_bias={config.qkv_bias}"
        )
    if config.layer_norm_eps != EPS:
        log.warning("layer_norm_eps %g becomes %g: tokens will differ slightly", config.layer_norm_eps, EPS)
    tensors = model.state_dict()
    encoder = to_ours(TRANSFORMERS_ENCODER, tensors)
    patch = tuple(tensors["embeddings.patch_embeddings.projection.weight"].shape[1:])
    size = config.image_size
    return put_together(
        {CONTEXT: encoder, TARGET: encoder},
        patch=patch,
        image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        fields={"heads": config.num_attention_heads, **fields},
    )


def _read(transformers: Any, name: str | Path) -> IJepaModel:
    try:
        model, report = transformers.IJepaModel.from_pretrained(
            name, add_pooling_layer=False, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name} holds no IJepaModel as safetensors: {error}") from error
    if absent := sorted(report["missing_keys"]):  # transformers would go on with random weights
        raise CheckpointError(
            f"{name} holds no whole IJepaModel: {len(absent)} tensors missing, e.g. {absent[0]}"
        )
    return model


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "hf") from None
    return transformers

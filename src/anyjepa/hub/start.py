"""Pretraining that starts from trained weights: sizes are theirs, the optimizer and its schedules are new."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from anyjepa.contract import Method
from anyjepa.errors import ConfigError
from anyjepa.hub.encoder import encoder_of
from anyjepa.hub.read import Loaded

_ENCODER = (
    "channels",
    "patch_size",
    "stem",
    "dim",
    "depth",
    "heads",
    "mlp_ratio",
    "positions",
    "registers",
    "cardinalities",
    "type_embedding",
    "index_embedding",
    "widths",
    "blocks",
)
_WHOLE = (
    "size",
    "predictor_width",
    "predictor_depth",
    "predictor_heads",
    "predictor_hidden",
    "hidden",
    "projection",
    "projector_norm",
    "actions",
    "action_dim",
    "action_width",
)
"""Fields of a config that weights determine: those of the encoder, and those of all the rest."""
_LENGTHS = ("image_size", "length", "samples", "frames")
"""Sizes of a sample, which may be others than those of the weights unless their positions are learned for them."""


def adopt(config: Any, method: str, loaded: Loaded) -> Any:
    """The config with the sizes of the weights in it.

    A field at its default counts as not chosen. The size of the samples may be another than that of the weights, unless their
    positions are learned for it.

    Args:
        config: of the new run.
        method: name of its method; the encoders fit other methods with the same encoder too.
        loaded: the weights.

    Raises:
        ConfigError: a field was chosen that contradicts the weights.
    """
    theirs, default = loaded.method.config, type(config)()
    names = [*_ENCODER, *(_WHOLE if _complete(method, loaded) else ())]
    if config.size == default.size:
        config = replace(config, size=theirs.size)
    for name in _LENGTHS:
        if hasattr(config, name) and hasattr(theirs, name):
            if getattr(config, name) is None:
                config = replace(config, **{name: getattr(theirs, name)})
            elif getattr(theirs, "positions", None) == "learned":
                names.append(name)
    # The weights know the regions by the coordinates they were trained with, whatever those of the new data would be.
    if getattr(theirs, "gradients", None) is not None and hasattr(config, "gradients"):
        config = replace(config, gradients=theirs.gradients)
    found, wrong = {}, []
    for name in names:
        if not (hasattr(config, name) and hasattr(theirs, name)):
            continue
        mine, wanted = getattr(config, name), getattr(theirs, name)
        if mine not in (wanted, getattr(default, name)):
            wrong.append(f"model.{name}={mine}, but the weights have {wanted}")
        found[name] = wanted
    if wrong:
        raise ConfigError(
            f"{'; '.join(wrong)}: leave it out to take it from the weights, or start without init"
        )
    return replace(config, **found)


@torch.no_grad()
def start(method: Method, loaded: Loaded) -> None:
    """Copy the weights into a new method whose config was adopted: all of them if they are all there, else the encoders."""
    own = method.state_dict()
    if _complete(method.name, loaded):
        theirs = loaded.method.state_dict()
        for name, tensor in theirs.items():
            if name in own:
                own[name].copy_(tensor)
        if own.keys() == theirs.keys():
            return
    # The target encoder last: a method with a single encoder starts from the better one.
    for role in ("context", "target"):
        mine, other = method.encoder_module(role), loaded.method.encoder_module(role)
        if mine is None or type(mine) is not type(other):
            mine, other = encoder_of(method, role), encoder_of(loaded.method, role)
        assert other is not None
        mine.load_state_dict(other.state_dict())


def _complete(method: str, loaded: Loaded) -> bool:
    return loaded.whole and loaded.method.name == method

"""The encoder of any method as plain tensors under our names, for layouts that hold one vision transformer."""

from __future__ import annotations

from torch import Tensor

from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.names import Tensors
from anyjepa.nn.positions import Positions
from anyjepa.nn.transformer import Encoder
from anyjepa.tokenizers.convolutions import ConvTokenizer

ELSEWHERE = "use --to anyjepa, torch or onnx"


def encoder_of(method: Method, encoder: str = "target") -> Encoder:
    """The vision transformer behind ``method.encode``.

    Raises:
        ConfigError: the method has none, or none of that name.
    """
    module = method.encoder_module(encoder)
    if not isinstance(module, Encoder):
        raise ConfigError(f"{method.name} keeps no vision transformer of its own, which this needs")
    return module


def encoder_tensors(
    method: Method, encoder: str, layout: str, *, registers: bool = False
) -> dict[str, Tensor]:
    """Tensors of one encoder, the table of its positions included.

    Args:
        method: the method.
        encoder: ``"target"`` or ``"context"``.
        layout: name of the layout they are for, in errors.
        registers: whether that layout can hold registers.

    Raises:
        ConfigError: the encoder has something that the layout cannot hold.
    """
    module = encoder_of(method, encoder)
    if isinstance(module.tokenizer, ConvTokenizer):
        raise ConfigError(f"the {layout} layout has linear patches, the model has stem=conv; {ELSEWHERE}")
    if len(module.tokenizer.size) != 2 or len(set(module.tokenizer.patch)) != 1:
        raise ConfigError(
            f"the {layout} layout has square patches of images, the model has patches of {module.tokenizer.patch}; {ELSEWHERE}"
        )
    kind = module.positions.kind if isinstance(module.positions, Positions) else "of its own"
    if kind not in ("sincos", "learned"):
        raise ConfigError(
            f"the {layout} layout has sincos or learned positions, the model has positions={kind}; {ELSEWHERE}"
        )
    if module.registers is not None and not registers:
        raise ConfigError(
            f"the {layout} layout has no registers, the model has {len(module.registers)}; {ELSEWHERE}"
        )
    tensors = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    return {**tensors, "positions.table": module.positions.table.detach()}


def fill_encoder(module: Encoder, tensors: Tensors) -> None:
    """Copy the tensors of one encoder, position table included, into a module.

    Raises:
        CheckpointError: they do not fit, or their table differs from the positions that the module computes.
    """
    own = dict(module.state_dict())
    computed = "positions.table" not in own
    given = {name: tensor for name, tensor in tensors.items() if not (computed and name == "positions.table")}
    if odd := sorted(own.keys() ^ given.keys()):
        raise CheckpointError(f"the encoder's tensors do not fit the config: {', '.join(odd[:3])}")
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{name}: expected {tuple(own[name].shape)} by the config, got {tuple(tensor.shape)}"
            )
    table = tensors["positions.table"]
    if computed and (
        table.shape != module.positions.table.shape
        or (table.float() - module.positions.table).abs().max() > 0.01
    ):
        raise CheckpointError("the position table is not the sin-cos table that the config asks for")
    module.load_state_dict(given)

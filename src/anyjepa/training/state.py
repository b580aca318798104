"""All tensors a training consists of, taken out of a method and its optimizer and put back.

Optimizer state is filed under parameter names, ``exp_avg/<name>``, so neither the order of the parameters nor the number of
processes matters. Shards are gathered to whole tensors one at a time, through DTensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from anyjepa.errors import CheckpointError, nearest

Tensors = dict[str, Tensor]


def gather_model(model: nn.Module, keep: bool = True) -> Tensors:
    """The whole ``state_dict`` on the CPU. Every process must call it; with ``keep`` False it only takes part."""
    return _gather(model.state_dict(), keep)


def gather_optimizer(model: nn.Module, optimizer: Optimizer, keep: bool = True) -> Tensors:
    """The optimizer state of all parameters of ``model`` on the CPU, as ``"<key>/<parameter>"``."""
    named = {
        f"{key}/{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    return _gather(named, keep)


def _gather(tensors: Mapping[str, Tensor], keep: bool) -> Tensors:
    whole = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            whole[name] = full.detach().cpu()
    return whole


def restore_model(model: nn.Module, saved: Tensors) -> None:
    """Copy whole tensors into a method, sharded or not.

    Raises:
        CheckpointError: a tensor is missing, left over, or of another shape.
    """
    own = model.state_dict()
    for name in own.keys() - saved.keys():
        raise CheckpointError(f"the weights lack '{name}'; {nearest(name, list(saved)[:20])}")
    for name in saved.keys() - own.keys():
        raise CheckpointError(f"the weights hold '{name}', which this model has not; {nearest(name, own)}")
    for name, tensor in saved.items():
        if tensor.shape != own[name].shape:
            shapes = f"{tuple(tensor.shape)} in the weights, {tuple(own[name].shape)} in the model"
            raise CheckpointError(f"'{name}' is {shapes}: use the config the weights were trained with")
    with torch.no_grad():
        for name, tensor in saved.items():
            own[name].copy_(_like(tensor, own[name]))


def restore_optimizer(model: nn.Module, optimizer: Optimizer, saved: Tensors) -> None:
    """Put optimizer state back. Call it after the parameters are where they train (device, shards)."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    states: dict[str, dict[str, Tensor]] = {}
    for entry, tensor in saved.items():
        key, _, name = entry.partition("/")
        states.setdefault(name, {})[key] = tensor
    packed: dict[int, dict[str, Any]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        state = states.pop(names[parameter], None)
        if state is not None:
            packed[i] = {
                k: _like(t, parameter) if t.shape == parameter.shape else t for k, t in state.items()
            }
    if states:
        raise CheckpointError(
            f"the optimizer state is of parameters this model does not train: {sorted(states)}"
        )
    # torch's own loader then moves each tensor to where this optimizer keeps it.
    optimizer.load_state_dict({"state": packed, "param_groups": optimizer.state_dict()["param_groups"]})


def _like(tensor: Tensor, own: Tensor) -> Tensor:
    """The whole ``tensor`` cut and placed as ``own`` is."""
    if isinstance(own, DTensor) and tensor.ndim:
        return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)
    return tensor

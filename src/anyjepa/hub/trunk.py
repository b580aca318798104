"""Published weights of an image network into the trunk that sees the cameras of a policy."""

from __future__ import annotations

from pathlib import Path

import torch

from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.nn.resnet import ResNet, from_transformers
from anyjepa.training.tensorfile import read_tensors


def load_trunk(method: Method, file: str | Path) -> int:
    """Put the weights of a ResNet-18, as transformers names them (``microsoft/resnet-18``), into every trunk of a method.

    The file is the user's own download of ``model.safetensors``; nothing is fetched.

    Args:
        method: has trunks that are ResNets, such as ACT-JEPA with ``trunk=resnet18``; the target encoder's copy gets them too.
        file: the weights.

    Returns:
        How many trunks were filled.

    Raises:
        ConfigError: the method has no such trunk.
        CheckpointError: the file cannot be read, or holds another network.
    """
    trunks = [module for module in method.modules() if isinstance(module, ResNet)]
    if not trunks:
        raise ConfigError(f"{method.name} has no ResNet that could take the weights: choose trunk=resnet18")
    weights = from_transformers(read_tensors(Path(file)))
    for trunk in trunks:
        theirs, mine = (
            {name: tuple(value.shape) for name, value in state.items() if "num_batches" not in name}
            for state in (weights, trunk.state_dict())
        )
        different = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        if different:
            name = different[0]
            raise CheckpointError(
                f"{file} is another network: {name} is {theirs.get(name, 'not there')}, expected {mine.get(name, 'nothing')}; "
                f"{len(different)} of {len(mine)} tensors differ"
            )
        with torch.no_grad():
            trunk.load_state_dict(weights, strict=False)
    return len(trunks)

"""A run, opened to read representations: its method, how its samples became batches, and which weights these are."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyjepa.bundle import Inputs
from anyjepa.config import to_dict
from anyjepa.contract import Method
from anyjepa.data.modality import Modality
from anyjepa.errors import ConfigError
from anyjepa.evaluation import Reader, encoder_reader
from anyjepa.hub.load import read
from anyjepa.training.checkpoint import STATE, latest, read_state


@dataclass(frozen=True)
class OpenRun:
    """What :func:`open_run` found.

    Attributes:
        method: the trained method, in eval mode, on the CPU.
        modality: the kind of data it is for.
        reading: how its samples became batches.
        checkpoint: path of the checkpoint relative to the run; ``""`` when the run is the checkpoint itself.
        step: optimizer steps behind the weights; None where nothing says so.
        weights: short fingerprint of the weights and of the config of the method.
    """

    method: Method
    modality: Modality
    reading: Any
    checkpoint: str
    step: int | None
    weights: str


def open_run(run: str | Path) -> OpenRun:
    """Open a run directory (its newest whole checkpoint), a checkpoint, or whatever else :func:`anyjepa.load` takes.

    Raises:
        CheckpointError: there is nothing to load, or it is torn.
    """
    path = Path(run)
    checkpoint = path if (path / STATE).is_file() else latest(path)
    loaded = read(checkpoint or run)
    return OpenRun(
        loaded.method,
        loaded.modality,
        loaded.modality.suit(loaded.reading, loaded.method.input_shape()),
        "" if checkpoint is None or checkpoint == path else checkpoint.relative_to(path).as_posix(),
        read_state(checkpoint).step if checkpoint else None,
        _fingerprint(loaded.method),
    )


def _fingerprint(method: Method) -> str:
    """Two numbers that change with the weights, and with the config they are used by."""
    weights = 0
    for tensor in method.state_dict().values():
        weights = zlib.crc32(tensor.contiguous().flatten().view(torch.uint8).numpy(), weights)
    config = json.dumps([method.name, to_dict(method.config)], sort_keys=True)
    return f"{weights:08x}-{zlib.crc32(config.encode()):08x}"


def choose_device(device: str | None) -> str:
    """The device that was asked for, else a GPU where there is one.

    Raises:
        ConfigError: there is no such device here.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device '{device}' cannot be used ({reason}); here are: {', '.join(['cpu', *found])}"
        ) from None
    return device


def vector_reader(
    method: Method, *, encoder: str, layers: Sequence[int], tokens: bool, device: str
) -> Reader:
    """Reads (B, D) pooled vectors, or (B, N, D) tokens; the layers are joined along D.

    Raises:
        ConfigError: no layers, or, when it is used, an unknown encoder or a layer that is not there.
    """
    pooled = encoder_reader(method, encoder=encoder, layers=layers, device=device)
    if not tokens:
        return pooled

    def read(inputs: Inputs) -> Tensor:
        inputs = inputs.to(device)
        try:
            found = [method.encode(inputs, encoder=encoder, layer=layer).tokens for layer in layers]
        except IndexError:
            raise ConfigError(
                f"layers={tuple(layers)} are not all in the encoder: -1 is its last block"
            ) from None
        return torch.cat(found, dim=2)

    return read

"""One vector per sample, from an encoder or without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyjepa.bundle import Inputs
from anyjepa.contract import Method, Representation
from anyjepa.data import Dataset, load_all
from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation.tokens import TokenStore
from anyjepa.randomness import derive_seed
from anyjepa.registry import create
from anyjepa.training.allocator import return_large_blocks

Reader = Callable[[Inputs], Tensor]
"""Samples as evaluation sees them to vectors (B, F)."""

POOLINGS = ("mean", "meanmax", "tokens")

MOST_FLAT = 8192
"""Values of one sample up to which all its tokens can be joined to one vector."""


@dataclass(frozen=True)
class Features:
    """Vectors of the samples that could be read, in the order of the data.

    Attributes:
        values: float32 array (n, F) of every reader, by its name.
        labels: (n,) classes or measured values; None when the data were opened without labels.
        index: (n,) position of each sample in its source.
    """

    values: Mapping[str, Float[np.ndarray, "n _"]]
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n"] | None
    index: Int[np.ndarray, "n"]


def encoder_reader(
    method: Method,
    *,
    encoder: str = "target",
    pooling: str = "mean",
    layers: Sequence[int] = (-1,),
    device: torch.device | str = "cpu",
    store: TokenStore | None = None,
) -> Reader:
    """Reads pooled features of a method, which is put into eval mode on ``device``.

    Args:
        method: the trained, or untrained, method.
        encoder: ``"target"`` or ``"context"``.
        pooling: ``"mean"`` over the tokens, ``"meanmax"`` (mean and maximum, joined), or ``"tokens"`` (all tokens joined to
            one vector of at most 8192 values).
        layers: blocks whose features are joined, F = D * len(layers) for the mean; -1 is the last one, after its norm.
        device: where to compute.
        store: keeps the tokens (B, N, D * len(layers)) of the same forward passes, in the order they are read.

    Raises:
        ConfigError: an unknown pooling, or no layers.
    """
    if pooling not in POOLINGS:
        raise ConfigError(f"unknown pooling '{pooling}': {nearest(pooling, POOLINGS)}")
    if not layers:
        raise ConfigError("layers is empty: give at least one block, -1 for the last")
    method = method.eval().to(device)

    def read(inputs: Inputs) -> Tensor:
        inputs = inputs.to(device)
        try:
            found = [method.encode(inputs, encoder=encoder, layer=layer) for layer in layers]
        except IndexError:
            raise ConfigError(
                f"layers={tuple(layers)} are not all in the encoder: -1 is its last block"
            ) from None
        if store is not None:
            store.add(torch.cat([each.tokens for each in found], dim=2))
        return torch.cat([_pool(each, pooling) for each in found], dim=1)

    return read


def _pool(found: Representation, pooling: str) -> Tensor:
    if pooling == "mean":
        return found.pooled
    if pooling == "meanmax":
        return torch.cat((found.pooled, found.tokens.amax(dim=1)), dim=1)
    n, width = found.tokens.shape[1:]
    if n * width > MOST_FLAT:
        raise ConfigError(
            f"pooling=tokens would give {n} x {width} = {n * width} values per sample, at most {MOST_FLAT} are taken: use "
            "pooling=mean or meanmax, or the attentive probe, which reads all tokens"
        )
    return found.tokens.flatten(1)


def untrained(method: Method, seed: int) -> Method:
    """A method of the same config with fresh random weights: what the architecture alone is worth."""
    config: Any = method.config
    draw = derive_seed(seed, "evaluation/untrained")
    if is_dataclass(config) and any(field.name == "seed" for field in fields(config)):
        config = replace(config, seed=draw)  # type: ignore[type-var]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw)
        return create(method.name, config)


def extract(
    readers: Mapping[str, Reader],
    dataset: Dataset,
    *,
    indices: Sequence[int] | np.ndarray | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Vectors of all samples, each read once for all readers; they are never all in memory.

    Args:
        readers: what to read, by name.
        dataset: the samples, as evaluation sees them; broken ones are left out.
        indices: which samples; None: all.
        batch_size: samples per forward pass.
        progress: called with (samples done, samples in all) after each batch.

    Raises:
        DataError: not one sample can be read.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    return_large_blocks()
    parts: dict[str, list[np.ndarray]] = {name: [] for name in readers}
    labels: list[np.ndarray] = []
    index: list[np.ndarray] = []
    total = len(dataset) if indices is None else len(indices)
    done = 0
    with torch.inference_mode():
        for loaded in load_all(dataset, indices, batch_size):
            for name, read in readers.items():
                parts[name].append(read(loaded.inputs).float().cpu().numpy())
            index.append(loaded.index.numpy())
            if loaded.labels is not None:
                labels.append(loaded.labels.numpy())
            done += len(loaded.index)
            if progress is not None:
                progress(done, total)
    if not index:
        raise DataError("there is no sample to read features of")
    values = {name: np.concatenate(part) for name, part in parts.items()}
    return Features(values, np.concatenate(labels) if labels else None, np.concatenate(index))

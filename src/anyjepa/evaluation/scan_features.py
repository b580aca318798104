"""One vector for each brain scan: of a frozen encoder, and of the connectivity matrix that it has to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyjepa.contract import Method
from anyjepa.data.fmri import FmriSource
from anyjepa.data.gradients import connectivity
from anyjepa.errors import ConfigError, nearest

POOLINGS = ("mean", "region", "covariance", "pairs")
"""How the tokens (B, R * n, D) of clips become vectors; see :func:`pool`."""


def pool(tokens: Float[Tensor, "B N D"], rois: int, how: str) -> Float[Tensor, "B F"]:
    """Vectors of clips from their tokens, which lie region by region.

    Args:
        tokens: of whole clips.
        rois: regions R.
        how: ``"mean"``: over all tokens, D numbers, what the paper does. ``"region"``: over the times of each region, R * D.
            ``"covariance"``: of every two channels over all tokens, D (D + 1) / 2. ``"pairs"``: how alike every two regions are
            in the course of their tokens, R (R - 1) / 2: Fisher z of the correlation over times and channels, what all regions
            of a time and all times of a region share taken off. Connectivity is of pairs, and a mean does not keep it.

    Raises:
        ConfigError: an unknown ``how``.
    """
    if how == "mean":
        return tokens.mean(dim=1)
    grid = tokens.unflatten(1, (rois, -1))
    if how == "region":
        return grid.mean(dim=2).flatten(1)
    if how == "pairs":
        course = grid - grid.mean(dim=2, keepdim=True)
        course = F.normalize((course - course.mean(dim=1, keepdim=True)).flatten(2), dim=2)
        row, column = torch.triu_indices(rois, rois, offset=1)
        return (course @ course.transpose(1, 2))[:, row, column].clamp(-1 + 1e-6, 1 - 1e-6).arctanh()
    if how == "covariance":
        centred = tokens - tokens.mean(dim=1, keepdim=True)
        products = centred.transpose(1, 2) @ centred / tokens.shape[1]
        row, column = torch.triu_indices(*products.shape[1:])
        return products[:, row, column]
    raise ConfigError(f"unknown pooling '{how}': {nearest(how, POOLINGS)}")


def embed_scans(
    method: Method,
    source: FmriSource,
    *,
    clips: int = 1,
    encoder: str = "target",
    pooling: str = "mean",
    batch_size: int = 16,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "n F"]:
    """One vector per scan: pooled features, averaged over clips that lie evenly in it.

    Args:
        method: put into eval mode on ``device``. Padded clips need one whose ``encode`` takes ``valid`` (B, frames).
        source: the scans.
        clips: clips of each scan; 1: the middle.
        encoder: ``"target"`` or ``"context"``.
        pooling: one of POOLINGS; padded clips can only be averaged (``"mean"``).
        batch_size: clips per forward pass.
        device: where to compute.
        progress: called with (clips done, clips in all).
    """
    if clips < 1 or batch_size < 1:
        raise ConfigError(f"clips and batch_size must be at least 1, got {clips} and {batch_size}")
    if pooling not in POOLINGS:
        raise ConfigError(f"unknown pooling '{pooling}': {nearest(pooling, POOLINGS)}")
    starts = [0.5] if clips == 1 else np.linspace(0.0, 1.0, clips).tolist()
    jobs = [(i, u) for i in range(len(source)) for u in starts]
    method = method.eval().to(device)
    parts: list[np.ndarray] = []
    with torch.inference_mode():
        for at in range(0, len(jobs), batch_size):
            read = [source.clip(i, u) for i, u in jobs[at : at + batch_size]]
            x = torch.stack([values for values, _ in read]).unsqueeze(1).to(device)
            valid = torch.stack([v for _, v in read]).to(device)
            extra: dict[str, Any] = {} if bool(valid.all()) else {"valid": valid}
            if extra and pooling != "mean":
                raise ConfigError(
                    f"padded clips can only be averaged over tokens (pooling=mean), not by '{pooling}': use fewer frames"
                )
            try:
                found = method.encode(x, encoder=encoder, **extra)
            except TypeError as error:
                if not extra:
                    raise
                raise ConfigError(
                    f"{method.name} takes no padded clips: use shorter clips (frames)"
                ) from error
            pooled = found.pooled if pooling == "mean" else pool(found.tokens, source.rois, pooling)
            parts.append(pooled.float().cpu().numpy())
            if progress is not None:
                progress(min(at + batch_size, len(jobs)), len(jobs))
    return np.concatenate(parts).reshape(len(source), clips, -1).mean(axis=1)


def connectivity_features(source: FmriSource) -> Float[np.ndarray, "n F"]:
    """The usual baseline: Fisher z of the correlation of every two regions, R (R - 1) / 2 per scan; 0 where a region is flat."""
    upper = np.triu_indices(source.rois, k=1)
    rows = []
    for scan in source.scans():
        r = np.nan_to_num(connectivity(scan)[upper])
        rows.append(np.arctanh(np.clip(r, -1 + 1e-6, 1 - 1e-6)).astype(np.float32))
    return np.stack(rows)

"""What a frozen encoder of observations knows of the future: the states, or the actions, that follow what it sees now.

A fresh head of learned queries reads the frozen tokens and is fitted on some episodes; others give the score. The encoder is
given the present observation and nothing else: with the states to come among its input it would be asked to copy (the released
code of ACT-JEPA does that to its baseline, and reports the best batch of the training).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from anyjepa.bundle import Bundle
from anyjepa.contract import Method
from anyjepa.data.dataset import Dataset
from anyjepa.errors import ConfigError, DataError
from anyjepa.nn.chunks import Queries
from anyjepa.randomness import derive_seed, permutation

What = Literal["states", "actions"]
PARTS = {"states": ("state", "state_pad"), "actions": ("action", "action_pad")}


@dataclass(frozen=True)
class FutureConfig:
    """The head and its training. Defaults: the state predictor of ACT-JEPA (official code), as wide as the encoder."""

    steps: int = 250
    """Optimizer steps."""
    batch_size: int = 128
    """Frames of a step (512 in the code)."""
    lr: float = 6e-4
    """Learning rate after a warm-up over 8 % of the steps, then a cosine to 0."""
    weight_decay: float = 0.1
    """Of AdamW."""
    depth: int = 4
    """Layers."""
    heads: int = 4
    """Attention heads (8)."""
    ratio: int = 4
    """Width inside the feed-forward networks over that of the encoder."""
    dropout: float = 0.1
    """Dropout."""
    held_out: float = 0.2
    """Share of the episodes that give the score, where no others are named."""
    frames: int = 4096
    """Frames of which tokens are held, evenly spread over the training episodes; half as many of the others."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "depth", "heads", "ratio", "frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out is a share in (0, 1), got {self.held_out}")


@dataclass(frozen=True)
class FutureScore:
    """Errors on held-out episodes, in scaled units, over the moments within their episodes.

    Attributes:
        rmse: root of the mean squared error over all values.
        ate: mean length of the error of a moment, over all its values.
        l1: mean absolute error.
        by_step: (T,) rmse of each moment ahead, the present first.
        best_batch: the least rmse of a training batch, as the released code reports it; not a score.
        frames, episodes: how many were held out.
    """

    rmse: float
    ate: float
    l1: float
    by_step: tuple[float, ...]
    best_batch: float
    frames: int
    episodes: int


@dataclass(frozen=True)
class Moments:
    """Frozen tokens of some frames, and what follows them.

    Attributes:
        tokens: (N, K, D), or an empty last axis but one where only errors are asked for.
        values: (N, T, S) scaled.
        valid: (N, T) within the episode.
    """

    tokens: Float[Tensor, "N K D"]
    values: Float[Tensor, "N T S"]
    valid: Bool[Tensor, "N T"]


def split_episodes(groups: np.ndarray, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames to fit on and frames to score, by whole episodes.

    Args:
        groups: (N,) episode of each frame.
        held_out: share of the episodes that are scored, at least one.
        seed: decides which.

    Raises:
        DataError: there is one episode only.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise DataError("one episode cannot be split: name others with --test")
    order = names[permutation(seed, "evaluation/future/split", 0, len(names))]
    test = np.isin(groups, order[: min(len(names) - 1, max(1, round(held_out * len(names))))])
    return np.flatnonzero(~test), np.flatnonzero(test)


@torch.no_grad()
def moments(
    read: Callable[[Bundle], Tensor],
    dataset: Dataset,
    rows: np.ndarray,
    what: str,
    most: int,
    progress: Callable[[int, int], None] | None = None,
) -> Moments:
    """Tokens of at most ``most`` of some frames, evenly spread, and what follows them.

    Raises:
        DataError: the data are no demonstrations.
    """
    rows = rows[np.arange(min(most, len(rows))) * len(rows) // min(most, len(rows))]
    name, pad = PARTS[what]
    tokens, values, valid = [], [], []
    for start in range(0, len(rows), 256):
        drawn = dataset.draw(0, rows[start : start + 256], 0)
        if not isinstance(drawn, Bundle) or name not in drawn or pad not in drawn:
            raise DataError(f"the {what} to come are known of demonstrations (episodes) alone")
        # The present alone: nothing of what is to be told may be seen.
        seen = {key: part for key, part in drawn.items() if key not in ("action", "action_pad", "state_pad")}
        seen["state"] = seen["state"][:, 0]
        tokens.append(read(Bundle(seen)).cpu())
        values.append(drawn[name])
        valid.append(drawn[pad] < 0.5)
        if progress is not None:
            progress(min(start + 256, len(rows)), len(rows))
    return Moments(torch.cat(tokens), torch.cat(values), torch.cat(valid))


def token_reader(method: Method, encoder: str) -> Callable[[Bundle], Tensor]:
    """Reads the tokens (B, K, D) of a method, which is put into eval mode."""
    method.eval()
    return lambda x: method.encode(x, encoder=encoder).tokens


def state_reader(x: Bundle) -> Float[Tensor, "B 1 D"]:
    """No encoder: the present state itself, filled up with zeros to a width that heads divide."""
    state = x["state"]
    width = max(64, -(-state.shape[1] // 64) * 64)
    return torch.nn.functional.pad(state, (0, width - state.shape[1]))[:, None]


def fit_future(
    train: Moments,
    test: Moments,
    what: What,
    config: FutureConfig,
    seed: int,
    *,
    episodes: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FutureScore:
    """Fit a head on frozen tokens, and score it on others.

    Args:
        train, test: moments.
        what: of states the head is causal and fitted with squared errors, of actions with absolute ones (as the policy is).
        config: the head.
        seed: of its start and of the order of the batches.
        episodes: how many are scored, for the record.
        progress: told of the steps that are done.
    """
    c, length = config, train.values.shape[1]
    dim = train.tokens.shape[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "evaluation/future"))
        head = nn.Sequential(
            Queries(
                length,
                dim,
                depth=c.depth,
                heads=c.heads,
                hidden=c.ratio * dim,
                dropout=c.dropout,
                causal=what == "states",
            ),
            nn.Linear(dim, train.values.shape[2]),
        )
        # Tokens of any scale: the mean and spread of the training frames.
        mean, spread = train.tokens.mean(dim=(0, 1)), train.tokens.std(dim=(0, 1)) + 1e-6
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in head.parameters() if p.ndim > 1], "weight_decay": c.weight_decay},
                {"params": [p for p in head.parameters() if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=c.lr,
            fused=True,
        )
        warm = max(1, round(0.08 * c.steps))
        best = float("inf")
        for step in range(c.steps):
            share = min(
                (step + 1) / warm, 0.5 + 0.5 * np.cos(np.pi * max(0, step - warm) / max(1, c.steps - warm))
            )
            for group in optimizer.param_groups:
                group["lr"] = c.lr * share
            order = permutation(seed, "evaluation/future/batch", step, len(train.tokens))[: c.batch_size]
            rows = torch.from_numpy(order)
            valid = train.valid[rows]
            memory = (train.tokens[rows] - mean) / spread
            error = (head[1](head[0](memory, valid)) - train.values[rows])[valid]
            loss = error.square().mean() if what == "states" else error.abs().mean()
            best = min(best, error.detach().square().mean().sqrt().item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1, c.steps)
    head.eval()
    with torch.no_grad():
        parts = [
            head[1](head[0]((tokens - mean) / spread, valid))
            for tokens, valid in zip(test.tokens.split(256), test.valid.split(256), strict=True)
        ]
    return score(torch.cat(parts), test, best, episodes)


def score(
    predicted: Float[Tensor, "N T S"], test: Moments, best_batch: float = float("nan"), episodes: int = 0
) -> FutureScore:
    """Errors of predictions, over the moments within their episodes."""
    error = predicted - test.values
    kept = error[test.valid]
    weight = test.valid.float()
    squared = (error.square().mean(dim=2) * weight).sum(dim=0) / weight.sum(dim=0).clamp(min=1)
    return FutureScore(
        kept.square().mean().sqrt().item(),
        kept.norm(dim=1).mean().item(),
        kept.abs().mean().item(),
        tuple(squared.sqrt().tolist()),
        best_batch,
        len(test.values),
        episodes,
    )

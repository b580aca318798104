"""Attentive probe: one learned query pools the frozen tokens by cross-attention, then a linear layer.

    pooled = W_o [ softmax(q_h (K x)^T / sqrt(d)) (V x) ]_h + b_o,   output = W pooled + b        x standardised tokens (N, D)

The probe of V-JEPA (arXiv 2404.08471, section 4; I-JEPA's successors use it too) without the MLP behind the pooling. It starts
as the linear probe on mean-pooled tokens: a query of zero weighs all tokens alike.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError
from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.linear import FOLDS
from anyjepa.evaluation.splits import epoch_rows, folds
from anyjepa.evaluation.start import start_linear
from anyjepa.evaluation.task import CLASSIFY, Target
from anyjepa.evaluation.tokens import TokenStore
from anyjepa.randomness import derive_seed
from anyjepa.schedules import OptimConfig, learning_rate


@dataclass(frozen=True)
class AttentiveConfig:
    """How the attentive probe is trained."""

    head_dim: int = 64
    """Width of an attention head; one head where the tokens are narrower or do not divide."""
    lrs: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    """Learning rates tried."""
    weight_decays: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Weight decays tried with each."""
    batch_size: int = 256
    """Samples per step."""
    epochs: int = 20
    """Passes over the training tokens (20 in V-JEPA)."""
    min_steps: int = 200
    """Steps at least, where few labels make short epochs."""
    max_steps: int = 2000
    """Steps at most."""

    def __post_init__(self) -> None:
        if not self.lrs or not self.weight_decays:
            raise ConfigError("lrs and weight_decays need at least one value each")
        for name in ("head_dim", "batch_size", "epochs", "min_steps", "max_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")

    def steps(self, n: int) -> int:
        """Steps for ``n`` training samples."""
        epochs = self.epochs * math.ceil(n / self.batch_size)
        return min(self.max_steps, max(self.min_steps, epochs))


class AttentivePool(nn.Module):
    """Multi-head attention of one learned query over tokens.

    The scores need no keys: q (K x) = (K^T q) x, so a token costs D * heads products instead of D * D, and many probes share
    one reading of the tokens. The sum of tokens is taken before the value projection for the same reason.

    Args:
        dim: D of the tokens.
        heads: attention heads; must divide ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"tokens of width {dim} do not divide into {heads} heads")
        self.dim, self.heads = dim, heads
        self.query = nn.Parameter(torch.zeros(heads, dim // heads))
        self.key = nn.Parameter(torch.randn(heads, dim // heads, dim) / math.sqrt(dim))
        self.value = nn.Parameter(torch.eye(dim).view(heads, dim // heads, dim).clone())
        self.out = nn.Linear(dim, dim)

    def probes(self) -> Float[Tensor, "H D"]:
        """What each head multiplies tokens with, scaled for the softmax."""
        return torch.einsum("hd,hdf->hf", self.query, self.key) / math.sqrt(self.dim // self.heads)

    def gather(self, summed: Float[Tensor, "B H D"]) -> Float[Tensor, "B D"]:
        """Weighted sums of tokens, one of each head, to the pooled vector."""
        return self.out(torch.einsum("bhf,hdf->bhd", summed, self.value).flatten(1))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """Pooled tokens."""
        return self.gather(attend(tokens, self.probes()))


def attend(tokens: Float[Tensor, "B N D"], probes: Float[Tensor, "H D"]) -> Float[Tensor, "B H D"]:
    """For each head the sum of the tokens, weighted by the softmax over tokens of ``tokens @ probes``."""
    weights = (tokens @ probes.T).softmax(dim=1)
    return weights.transpose(1, 2) @ tokens


class AttentiveHead(nn.Module):
    """Pooling and linear output."""

    def __init__(self, dim: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.pool = AttentivePool(dim, heads)
        self.linear = nn.Linear(dim, outputs)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B K"]:
        """Class scores, or the value."""
        return self.linear(self.pool(tokens))


@dataclass(frozen=True)
class AttentiveProbe:
    """A fitted probe.

    Attributes:
        head: pooling and linear layer, on standardised tokens.
        mean, scale: what tokens are standardised with, (D,).
        target: the training labels.
        lr, weight_decay: the chosen ones.
    """

    head: AttentiveHead
    mean: Float[Tensor, "D"]
    scale: Float[Tensor, "D"]
    target: Target
    lr: float
    weight_decay: float

    @torch.no_grad()
    def predict(self, store: TokenStore, positions: np.ndarray, batch_size: int = 256) -> Labels:
        """Classes or values of the samples at these positions of the store; of several views, by the mean of the probabilities or
        of the values."""
        outputs = []
        for part in np.array_split(positions, math.ceil(len(positions) / batch_size)):
            tokens = (store.take(part).to(self.mean.device) - self.mean) / self.scale
            each = self.head(tokens.unflatten(1, (store.views, -1)).flatten(0, 1))
            if store.views > 1 and self.target.task == CLASSIFY:
                each = each.softmax(dim=1)
            outputs.append(each.unflatten(0, (-1, store.views)).mean(dim=1).cpu())
        return self.target.decode(torch.cat(outputs))


def fit_attentive(
    store: TokenStore,
    positions: np.ndarray,
    labels: Labels,
    *,
    seed: int = 0,
    config: AttentiveConfig | None = None,
    device: torch.device | str = "cpu",
) -> AttentiveProbe:
    """Fits a probe.

    All pairs of learning rate and weight decay are trained at once on four fifths of the training samples; the one with the
    best score on the last fifth (the smaller mean loss of equals) is trained again on all. Where samples have several views, the
    middle ones train.

    Args:
        store: tokens.
        positions: (n,) the training samples in it.
        labels: (n,) their classes, or values when they are floats.
        seed: of the first weights, the folds and the order of the samples.
        config: how to train.
        device: where to compute.

    Raises:
        DataError: there is one class, or one value, only.
    """
    config = config or AttentiveConfig()
    target = Target.of(labels)
    encoded = target.encode(labels)
    mean, scale, means = _moments(store, positions, config.batch_size)
    # Means of tokens vary less than tokens do; brought to the same size, they are what the linear probe reads.
    pooled = means.std(dim=0, correction=0).clamp(min=0.05)
    features = (means / pooled).numpy()
    mean, scale = mean.to(device), scale.to(device)

    def train(inside: np.ndarray, grid: Sequence[tuple[float, float]]) -> list[AttentiveHead]:
        first = _head(store.width, target.outputs, pooled, seed, config)
        start_linear(first.linear, features[inside], labels[inside], target, seed)
        heads = [copy.deepcopy(first).to(device) for _ in grid]
        groups = [
            {"params": params, "lr": lr, "share": lr, "weight_decay": wd if decayed else 0.0}
            for head, (lr, wd) in zip(heads, grid, strict=True)
            for decayed, params in _parameters(head)
        ]
        optimizer = torch.optim.AdamW(groups)
        steps = config.steps(len(inside))
        schedule = OptimConfig(steps=steps, warmup_steps=steps // 10, start_lr=0.0, lr=1.0, final_lr=0.0)
        for step in range(steps):
            rows = inside[epoch_rows(len(inside), config.batch_size, step, seed)]
            tokens = _standard(store, positions[rows], mean, scale)
            summed = attend(tokens, torch.cat([head.pool.probes() for head in heads]))
            outputs = [
                head.linear(head.pool.gather(part))
                for head, part in zip(
                    heads, summed.split([head.pool.heads for head in heads], dim=1), strict=True
                )
            ]
            wanted = encoded[rows].to(device)
            loss = torch.stack([target.losses(each, wanted).mean() for each in outputs]).sum()
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * learning_rate(schedule, step + 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return heads

    grid = [(lr, wd) for lr in config.lrs for wd in sorted(config.weight_decays, reverse=True)]
    held = _held_out(labels, target, seed)
    if len(grid) > 1 and held.any() and len(np.unique(labels[~held])) > 1:
        heads = train(np.flatnonzero(~held), grid)
        grid = [grid[_best(heads, store, positions[held], labels[held], target, mean, scale)]]
    lr, weight_decay = grid[0]
    (head,) = train(np.arange(len(positions)), [(lr, weight_decay)])
    return AttentiveProbe(head.eval(), mean, scale, target, lr, weight_decay)


def _head(width: int, outputs: int, pooled: Tensor, seed: int, config: AttentiveConfig) -> AttentiveHead:
    heads = width // config.head_dim if width % config.head_dim == 0 else 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "evaluation/attentive"))
        head = AttentiveHead(width, heads, outputs)
    with torch.no_grad():
        head.pool.out.weight.copy_(torch.diag(1 / pooled))
        head.pool.out.bias.zero_()
    return head


def _parameters(head: AttentiveHead) -> list[tuple[bool, list[nn.Parameter]]]:
    """With weight decay: the output weights, whose size decides about overfitting; without it all others."""
    named = dict(head.named_parameters())
    decayed = named.pop("linear.weight")
    return [(True, [decayed]), (False, list(named.values()))]


def _moments(store: TokenStore, positions: np.ndarray, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and scale (D,) of the tokens, and the mean (n, D) of each sample's standardised tokens."""
    count, means = 0, []
    total = squares = torch.zeros(store.width, dtype=torch.float64)
    for part in np.array_split(positions, math.ceil(len(positions) / batch_size)):
        tokens = store.middle(part).double()
        count += tokens.shape[0] * tokens.shape[1]
        total = total + tokens.sum(dim=(0, 1))
        squares = squares + tokens.square().sum(dim=(0, 1))
        means.append(tokens.mean(dim=1))
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    # What is constant up to rounding is left out, as in the linear probe.
    scale = torch.where(variance <= 1e-6 * mean.square().clamp(min=1e-12), torch.inf, variance.sqrt())
    return mean.float(), scale.float(), ((torch.cat(means) - mean) / scale).float()


def _standard(store: TokenStore, positions: np.ndarray, mean: Tensor, scale: Tensor) -> Tensor:
    return (store.middle(positions).to(mean.device) - mean) / scale


def _held_out(labels: Labels, target: Target, seed: int) -> np.ndarray:
    groups = labels if target.task == CLASSIFY else np.zeros(len(labels), np.int64)
    return folds(groups, FOLDS, seed) == 0


@torch.no_grad()
def _best(
    heads: Sequence[AttentiveHead],
    store: TokenStore,
    positions: np.ndarray,
    labels: Labels,
    target: Target,
    mean: Tensor,
    scale: Tensor,
) -> int:
    """Which head does best on held-out training samples."""
    right, losses = np.zeros(len(heads)), np.zeros(len(heads))
    for part in np.array_split(np.arange(len(positions)), math.ceil(len(positions) / 256)):
        tokens = _standard(store, positions[part], mean, scale)
        wanted = target.encode(labels[part])
        for i, head in enumerate(heads):
            outputs = head(tokens).cpu()
            losses[i] += float(target.losses(outputs, wanted).sum())
            if target.task == CLASSIFY:
                right[i] += (target.decode(outputs) == labels[part]).sum()
    return int(np.lexsort((losses, -right))[0])

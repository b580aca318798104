"""Protocols of benchmarks/ecg.py: what frozen features, fine-tuning and training from scratch make of few labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyjepa.contract import Method
from anyjepa.data.ecg_signal import sliding_crops
from anyjepa.evaluation.finetune import FinetuneConfig, fit_finetune
from anyjepa.evaluation.linear import fit_linear
from anyjepa.evaluation.recordings import macro_auc
from anyjepa.randomness import permutation, uniform
from ecg_tasks import WAVES, Task, Waves


def crop_features(method: Method, x: Tensor, length: int, encoder: str = "target") -> np.ndarray:
    """Mean-pooled tokens of each sample (N, D): of one window, or averaged over crops that overlap by half."""
    crops = sliding_crops(x, length, length // 2)
    with torch.inference_mode():
        pooled = torch.cat(
            [method.encode(part, encoder=encoder).pooled for part in crops.flatten(0, 1).split(256)]
        )
    return pooled.unflatten(0, crops.shape[:2]).mean(dim=1).numpy()


def centred(features: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Features less their mean over all samples of the same person: needs no labels, but a recording of some length."""
    found = features.copy()
    for one in np.unique(person):
        found[person == one] -= features[person == one].mean(axis=0)
    return found


def few(labels: np.ndarray, train: np.ndarray, budget: int | None, draw: int) -> np.ndarray:
    """Training samples: ``budget`` of each class, or as many as a class has; None: all."""
    rows = np.flatnonzero(train)
    if budget is None:
        return rows
    order = rows[permutation(draw, "benchmark/few", 0, len(rows))]
    return np.sort(np.concatenate([order[labels[order] == k][:budget] for k in np.unique(labels)]))


def score(probability: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Macro ROC-AUC (one against the rest) and the mean recall of the classes."""
    classes = np.arange(probability.shape[1])
    guess = probability.argmax(axis=1)
    recall = [float((guess[labels == k] == k).mean()) for k in classes]
    auc = macro_auc(probability.astype(np.float64), labels[:, None] == classes).mean
    return {"auc": auc, "balanced": float(np.mean(recall))}


def linear_score(features: np.ndarray, task: Task, budget: int | None, draw: int) -> dict[str, float]:
    """A linear probe, its strength chosen on the training labels it is given."""
    rows, test = few(task.labels, task.train, budget, draw), ~task.train
    probe = fit_linear(features[rows], task.labels[rows], seed=draw)
    standard = (features[test] - probe.mean) / probe.scale
    return score(probe.model.predict_proba(standard), task.labels[test])


@dataclass(frozen=True)
class Crops:
    """Samples for fine-tuning: random crops of ``length`` to train on, the first one to start from."""

    x: Tensor
    length: int

    def draw(self, step: int, positions: np.ndarray, seed: int, crop_scale: tuple[float, float]) -> Tensor:
        """Random crops."""
        free = self.x.shape[2] - self.length
        starts = (uniform(seed, "benchmark/crop", step, positions, 1)[:, 0] * (free + 1)).astype(int)
        return torch.stack(
            [
                self.x[i, :, s : s + self.length]
                for i, s in zip(positions.tolist(), starts.tolist(), strict=True)
            ]
        )

    def whole(self, positions: np.ndarray) -> Tensor:
        """The middle."""
        start = (self.x.shape[2] - self.length) // 2
        return self.x[torch.from_numpy(positions), :, start : start + self.length]


def tuned_score(
    method: Method, task: Task, length: int, budget: int | None, draw: int, config: FinetuneConfig
) -> dict[str, float]:
    """All weights trained, from those of ``method``; class scores averaged over crops."""
    rows, test = few(task.labels, task.train, budget, draw), np.flatnonzero(~task.train)
    tuned = fit_finetune(method, Crops(task.x, length), rows, task.labels[rows], seed=draw, config=config)  # type: ignore[arg-type]
    crops = sliding_crops(task.x[test], length, length // 2)
    with torch.inference_mode():
        logits = torch.cat([tuned.outputs(part) for part in crops.flatten(0, 1).split(256)])
    mean = logits.unflatten(0, crops.shape[:2]).mean(dim=1)
    return score(mean.softmax(dim=1).numpy(), task.labels[test])


Tokens = Callable[[Tensor], Tensor]
"""Recordings (B, C, T) to one vector per token (B, N, F)."""


def encoder_tokens(method: Method, length: int, layer: int = -1) -> Tokens:
    """Frozen tokens of a block, of pieces of ``length`` put side by side."""

    def read(x: Tensor) -> Tensor:
        pieces = x.unfold(2, length, length).movedim(2, 1)
        with torch.inference_mode():
            found = method.encode(pieces.flatten(0, 1), layer=layer).tokens
        return found.unflatten(0, pieces.shape[:2]).flatten(1, 2).clone()

    return read


def raw_tokens(patch: int, neighbours: int) -> Tokens:
    """The samples of a token, and of as many tokens on either side."""

    def read(x: Tensor) -> Tensor:
        reach = neighbours * patch
        wide = F.pad(x, (reach, reach)).unfold(2, patch + 2 * reach, patch)
        return wide.movedim(2, 1).flatten(2)

    return read


def wave_score(tokens: Tokens, task: Waves, patch: int, strength: float = 1e-3) -> dict[str, float]:
    """One linear map from a token to the class of each of its samples; F1 of every wave over the samples of the test persons.

    Logistic regression on whitened tokens, fitted to the end, so that the scale of a feature plays no part.
    """
    features = torch.cat([tokens(part) for part in task.x.split(16)]).double()
    n, t, _ = features.shape
    labels = torch.from_numpy(task.labels[:, : t * patch]).view(n, t, patch)
    train = torch.from_numpy(task.train)
    x, y = features[train].flatten(0, 1), labels[train].flatten(0, 1)
    known = (y >= 0).any(dim=1)
    x, y = x[known], y[known]
    mean = x.mean(dim=0)
    values, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    kept = values > 1e-6 * values.max()
    whiten = axes[:, kept] / values[kept].sqrt()
    x = ((x - mean) @ whiten).float()
    layer = nn.Linear(x.shape[1], patch * len(WAVES))
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=150, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = layer(x).unflatten(1, (patch, len(WAVES))).flatten(0, 1)
        loss = F.cross_entropy(logits, y.flatten(), ignore_index=-1)
        loss = loss + strength * layer.weight.square().sum() / 2 / patch
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.inference_mode():
        test = ((features[~train] - mean) @ whiten).float()
        guess = layer(test).unflatten(2, (patch, len(WAVES))).argmax(dim=3).flatten().numpy()
    truth = labels[~train].flatten().numpy()
    guess, truth = guess[truth >= 0], truth[truth >= 0]
    found = {}
    for k, wave in enumerate(WAVES[1:], start=1):
        both = float(((guess == k) & (truth == k)).sum())
        found[wave] = 2 * both / max(1.0, float((guess == k).sum() + (truth == k).sum()))
    return found | {"mean": float(np.mean(list(found.values()))), "accuracy": float((guess == truth).mean())}

"""Cross-validation within each subject, the way decoders of EEG are compared (S-JEPA, arXiv 2403.11772, section 2.5).

For each subject alone: stratified folds; of the folds to train on a part is kept for early stopping; the weights of the epoch
with the lowest validation loss are scored on the fold left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, get_type_hints, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.randomness import derive_seed, permutation

_AT_ONCE = 64
"""Windows that are looked at together without gradients."""


@runtime_checkable
class Decoder(Protocol):
    """A network of which some layers are new and the others pretrained."""

    def new_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the new layers."""
        ...

    def unfreeze(self, full: bool = True) -> None:
        """Train all layers, or the new ones alone."""
        ...

    def pretrained_features(self, x: Tensor) -> Tensor:
        """What the pretrained layers make of windows before any new layer; computed once as long as they stay as they are."""
        ...

    def classify(self, features: Tensor) -> Tensor:
        """Logits from :meth:`pretrained_features`; the decoder itself is one after the other."""
        ...


@dataclass(frozen=True)
class WithinSubjectConfig:
    """Folds and training. Defaults: S-JEPA where it says so."""

    folds: int = 5
    """Folds of each subject (paper)."""
    validation: float = 0.2
    """Share of the folds to train on that is kept for early stopping (the paper does not say)."""
    full: bool = True
    """All layers are trained after ``new_epochs`` (the paper's full-); else the new ones alone (new-)."""
    new_epochs: int = 10
    """Epochs with the new layers alone before all are trained (paper)."""
    patience: int = 50
    """Epochs without a lower validation loss after which training ends (paper)."""
    epochs: int = 500
    """Longest training (the paper names no limit)."""
    batch_size: int = 32
    """Windows per step (the paper does not say)."""
    lr: float = 1e-3
    """Rate of AdamW (the paper does not say)."""
    weight_decay: float = 0.01
    """Weight decay of AdamW (the paper does not say)."""
    metric: Literal["accuracy", "auc"] = "accuracy"
    """Score: accuracy, or the area under the ROC curve for two classes (paper: for event-related potentials)."""
    seed: int = 0
    """Of folds, order and new layers."""

    def __post_init__(self) -> None:
        choices = get_args(get_type_hints(WithinSubjectConfig)["metric"])
        if self.metric not in choices:
            raise ConfigError(f"unknown metric '{self.metric}': {nearest(self.metric, choices)}")
        for name, low in (("folds", 2), ("new_epochs", 0), ("patience", 1), ("epochs", 1), ("batch_size", 1)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not 0 < self.validation < 1:
            raise ConfigError(f"validation must lie between 0 and 1, got {self.validation}")


@dataclass(frozen=True)
class WithinSubjectResult:
    """Scores of every fold of every subject.

    Attributes:
        scores: (S, folds).
        subjects: their S numbers.
        metric: what the scores are.
    """

    scores: np.ndarray
    subjects: tuple[int, ...]
    metric: str

    @property
    def mean(self) -> float:
        """Mean over subjects and folds."""
        return float(self.scores.mean())

    def __str__(self) -> str:
        folds = self.scores.shape[1]
        return f"{self.metric} {self.mean:.3f} +- {self.scores.std():.3f} over {len(self.subjects)} subjects x {folds} folds"


def within_subject(
    build: Callable[[int], nn.Module],
    x: Float[Tensor, "N C T"],
    labels: Int[np.ndarray, "N"],
    subjects: Int[np.ndarray, "N"] | None = None,
    config: WithinSubjectConfig | None = None,
) -> WithinSubjectResult:
    """Train and score a fresh decoder for every fold of every subject.

    Args:
        build: makes a decoder (see :class:`Decoder`) from a seed; called once per fold.
        x: windows.
        labels: classes 0, 1, ...
        subjects: subject of each window; None: one subject.
        config: folds and training.

    Raises:
        DataError: a subject has a class with fewer windows than folds and validation need, or one class only.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    config = config or WithinSubjectConfig()
    subjects = np.zeros(len(labels), dtype=np.int64) if subjects is None else subjects
    if config.metric == "auc" and len(np.unique(labels)) != 2:
        raise DataError(f"metric=auc needs two classes, got {len(np.unique(labels))}")
    scores: list[list[float]] = []
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        counts = np.unique(labels[rows], return_counts=True)[1]
        least = max(config.folds, 3)
        if len(counts) < 2 or counts.min() < least:
            raise DataError(
                f"subject {subject} has {len(counts)} classes, the smallest with {counts.min()} windows: {config.folds} folds "
                f"need two classes and {least} windows of each"
            )
        seed = derive_seed(config.seed, "within-subject", index=int(subject)) % 2**32
        folds = StratifiedKFold(config.folds, shuffle=True, random_state=seed)
        scores.append([])
        for fold, (train, test) in enumerate(folds.split(rows, labels[rows])):
            share = max(config.validation, len(counts) / len(train))
            train, valid = train_test_split(
                rows[train], test_size=share, stratify=labels[rows[train]], random_state=seed
            )
            model = build(derive_seed(seed, "decoder", index=fold) % 2**31)
            fit_decoder(model, x, labels, train, valid, config)
            scores[-1].append(_score(model, x, labels, rows[test], config))
    return WithinSubjectResult(np.array(scores), tuple(int(s) for s in np.unique(subjects)), config.metric)


def fit_decoder(
    model: nn.Module,
    x: Float[Tensor, "N C T"],
    labels: Int[np.ndarray, "N"],
    train: Int[np.ndarray, "K"],
    valid: Int[np.ndarray, "V"],
    config: WithinSubjectConfig,
) -> list[float]:
    """Train a decoder in place, and give it the weights of its best epoch.

    Args:
        model: see :class:`Decoder`.
        x, labels: windows and classes.
        train, valid: rows to learn from, and rows whose loss decides when to stop.
        config: training.

    Returns:
        Validation loss of each epoch.
    """
    decoder: Decoder = model  # type: ignore[assignment]
    y = torch.from_numpy(labels)
    best, kept, losses = float("inf"), copy.deepcopy(model.state_dict()), list[float]()
    full = config.full and config.new_epochs == 0
    optimizer = _restart(model, decoder, config, full)
    seen, held = (_held(model, decoder, x, rows, full) for rows in (train, valid))
    since = 0
    for epoch in range(config.epochs):
        if config.full and epoch == config.new_epochs > 0:
            optimizer, since, full = _restart(model, decoder, config, full=True), 0, True
            seen, held = (_held(model, decoder, x, rows, full) for rows in (train, valid))
        model.train()
        order = permutation(config.seed, "decoder/order", epoch, len(train))
        for start in range(0, len(order), config.batch_size):
            at = order[start : start + config.batch_size]
            optimizer.zero_grad()
            scores = model(seen[at]) if full else decoder.classify(seen[at])
            F.cross_entropy(scores, y[train[at]]).backward()
            optimizer.step()
        model.eval()
        losses.append(float(F.cross_entropy(_logits(model if full else decoder.classify, held), y[valid])))
        since += 1
        if losses[-1] < best:
            best, kept, since = losses[-1], copy.deepcopy(model.state_dict()), 0
        # Layers that are yet to be trained get their turn first.
        if since >= config.patience and (not config.full or epoch >= config.new_epochs):
            break
    model.load_state_dict(kept)
    return losses


def _restart(
    model: nn.Module, decoder: Decoder, config: WithinSubjectConfig, full: bool
) -> torch.optim.Optimizer:
    decoder.unfreeze(full)
    parameters = model.parameters() if full else decoder.new_parameters()
    return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)


def _held(model: nn.Module, decoder: Decoder, x: Tensor, rows: np.ndarray, full: bool) -> Tensor:
    """What an epoch starts from: windows, or their features where the pretrained layers are frozen."""
    model.eval()
    return x[rows] if full else _logits(decoder.pretrained_features, x[rows])


@torch.no_grad()
def _logits(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([function(part) for part in x.split(_AT_ONCE)])


def _score(
    model: nn.Module, x: Tensor, labels: np.ndarray, rows: np.ndarray, config: WithinSubjectConfig
) -> float:
    from sklearn.metrics import roc_auc_score

    model.eval()
    scores = _logits(model, x[rows])
    if config.metric == "auc":
        return float(roc_auc_score(labels[rows], scores.softmax(1)[:, 1].numpy()))
    return float((scores.argmax(1).numpy() == labels[rows]).mean())

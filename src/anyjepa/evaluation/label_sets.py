"""Recordings with several labels each: split by person, one linear map for all labels, macro ROC-AUC.

The protocol of PTB-XL and of ECG-JEPA on frozen features: folds 1 to 8 to train, 9 to choose the strength, 10 to test. Data
without such folds are split by person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyjepa.errors import DataError
from anyjepa.evaluation.recordings import MacroAuc, macro_auc
from anyjepa.evaluation.standard import scaling
from anyjepa.randomness import permutation

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""L2 strengths tried: the weight of |w|^2 / 2 next to the mean log loss of a label."""
ITERATIONS = 100
SHARES = (0.7, 0.15)
"""Persons to train on and to choose the strength with, where there are no folds; the others are the test."""


@dataclass(frozen=True)
class PersonSplit:
    """Positions of the samples for training, for choosing, and for the test; no person is in two of them."""

    train: Int[np.ndarray, "_"]
    valid: Int[np.ndarray, "_"]
    test: Int[np.ndarray, "_"]
    source: str
    """Where the split comes from, in words."""


def person_split(
    persons: Int[np.ndarray, "N"], folds: Int[np.ndarray, "N"] | None = None, seed: int = 0
) -> PersonSplit:
    """Folds 1 to 8, 9 and 10 where every sample has one of these; else 70, 15 and 15 % of the persons.

    Args:
        persons: number of the person of each sample.
        folds: fold of each sample, -1 where there is none.
        seed: of the choice of persons.

    Raises:
        DataError: a person is in two parts, or a part is empty.
    """
    if folds is not None and len(folds) and folds.min() >= 1 and folds.max() <= 10 and (folds > 8).any():
        parts = [np.flatnonzero(folds <= 8), np.flatnonzero(folds == 9), np.flatnonzero(folds == 10)]
        source = "folds 1 to 8, 9 and 10"
    else:
        known = np.unique(persons)
        order = known[permutation(seed, "evaluation/persons", 0, len(known))]
        ends = [round(SHARES[0] * len(known)), round(sum(SHARES) * len(known))]
        parts = [np.flatnonzero(np.isin(persons, chosen)) for chosen in np.split(order, ends)]
        source = "70, 15 and 15 % of the persons"
    empty = [
        name for name, part in zip(("training", "validation", "test"), parts, strict=True) if not len(part)
    ]
    if empty:
        raise DataError(
            f"no samples for {' and '.join(empty)} among {len(persons)} of {len(np.unique(persons))} persons ({source}): give "
            "more persons"
        )
    split = PersonSplit(parts[0], parts[1], parts[2], source)
    for a, b in ((split.train, split.valid), (split.train, split.test), (split.valid, split.test)):
        both = np.intersect1d(persons[a], persons[b])
        if len(both):
            raise DataError(
                f"{len(both)} persons are in two parts of the split ({', '.join(map(str, both[:5].tolist()))}): a model would "
                "recognise them; split by person"
            )
    return split


@dataclass(frozen=True)
class LabelSetScores:
    """What a linear probe of several labels found on the test persons."""

    auc: MacroAuc
    """Macro ROC-AUC over the labels that occur and are absent among the test samples."""
    names: tuple[str, ...]
    """Names of the labels."""
    strength: float
    """Chosen L2 strength."""
    split: PersonSplit
    """Who was where."""
    scores: Float[np.ndarray, "m K"]
    """Scores of the test samples."""

    def __str__(self) -> str:
        left = [self.names[k] for k in self.auc.left_out]
        note = f"; without {', '.join(left)}, which all or none of the test samples have" if left else ""
        sizes = " / ".join(str(len(part)) for part in (self.split.train, self.split.valid, self.split.test))
        return f"macro AUROC {self.auc.mean:.3f} over {len(self.names) - len(left)} labels ({self.split.source}: {sizes}{note})"


def probe_label_sets(
    features: Float[np.ndarray, "N F"],
    labels: Bool[np.ndarray, "N K"],
    names: Sequence[str],
    split: PersonSplit,
) -> LabelSetScores:
    """Logistic regression for each label on standardised features; the strength is that of the best validation score.

    Args:
        features: a vector for each sample.
        labels: which labels each sample has.
        names: of the labels.
        split: see :func:`person_split`.

    Raises:
        DataError: no label both occurs and is absent in every part of the split.
    """
    usable = np.ones(labels.shape[1], dtype=bool)
    for part in (split.train, split.test):
        usable &= labels[part].any(axis=0) & ~labels[part].all(axis=0)
    if not usable.any():
        raise DataError(
            f"none of the {labels.shape[1]} labels has samples with and without it in training and in the test "
            f"({split.source})"
        )
    mean, scale = scaling(features[split.train])
    x = torch.from_numpy(((features - mean) / scale).astype(np.float32))
    y = torch.from_numpy(labels.astype(np.float32))
    layer = nn.Linear(x.shape[1], y.shape[1])
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    best, chosen, kept = -1.0, STRENGTHS[0], np.zeros(0)
    # Weak regularisation converges slowly from zero: go there by way of the stronger ones.
    for strength in STRENGTHS:
        _fit(layer, x[split.train], y[split.train], strength)
        with torch.inference_mode():
            scores = layer(x).double().numpy()
        found = _validation(scores[split.valid], labels[split.valid])
        if found > best:
            best, chosen, kept = found, strength, scores[split.test]
    # A label that no training sample has, or all have, cannot be learned; one of the test alone cannot be scored.
    truth = labels[split.test] & usable
    return LabelSetScores(macro_auc(kept, truth), tuple(names), chosen, split, kept)


def _validation(scores: np.ndarray, labels: np.ndarray) -> float:
    """Macro AUC, or half where validation samples are too alike for one."""
    some = labels.any(axis=0) & ~labels.all(axis=0)
    return macro_auc(scores, labels).mean if some.any() else 0.5


def _fit(layer: nn.Linear, x: Tensor, y: Tensor, strength: float) -> None:
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(layer(x), y, reduction="none").mean(dim=0).sum()
        loss = loss + strength * layer.weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)

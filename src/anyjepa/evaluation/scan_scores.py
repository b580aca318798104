"""Scores of what is predicted from brain scans, as the field reports them (Brain-JEPA, arXiv 2409.19407, section 4).

Numbers: mean squared error of standardised values and Pearson's r. Classes: accuracy, F1 of the positive class and area under the
ROC curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import f1_score, roc_auc_score


@dataclass(frozen=True)
class Scores:
    """Scores of held-out scans, fold by fold; a score that a fold cannot have (r of a constant, AUROC of one class) is NaN."""

    task: str
    """``"number"`` or ``"class"``."""
    values: dict[str, tuple[float, ...]]
    """``mse`` and ``r``, or ``accuracy``, ``f1`` and ``auroc``, for each fold."""
    chance: dict[str, float]
    """The same of the best constant answer: the mean, or the most frequent class."""
    predicted: Float[np.ndarray, "n"]
    """Prediction for each scan by the model that had not seen its subject: value, or class."""
    fold: Int[np.ndarray, "n"]
    """The fold in which a scan was held out."""
    truth: Float[np.ndarray, "n"] | Int[np.ndarray, "n"]
    """Value or class of each scan."""
    unit: Float[np.ndarray, "n"] | None = None
    """For numbers: the deviation in the training scans, which errors are counted in."""
    probability: Float[np.ndarray, "n C"] | None = None
    """For classes: how likely each was held to be, in their order."""

    def mean(self, score: str) -> float:
        """Mean of a score over the folds that have it."""
        return float(np.nanmean(self.values[score]))

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {self.mean(name):.3f} ± {np.nanstd(v):.3f} (constant {self.chance[name]:.3f})"
            for name, v in self.values.items()
        )


def number_scores(predicted: Float[np.ndarray, "n"], truth: Float[np.ndarray, "n"]) -> dict[str, float]:
    """Mean squared error and Pearson's r; r is NaN where one side is constant."""
    a, b = predicted - predicted.mean(), truth - truth.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    r = float((a * b).sum() / norm) if norm > 1e-12 * len(a) else float("nan")
    return {"mse": float(np.mean((predicted - truth) ** 2)), "r": r}


def class_scores(
    probability: Float[np.ndarray, "n C"], truth: Int[np.ndarray, "n"], known: Int[np.ndarray, "C"]
) -> dict[str, float]:
    """Accuracy, F1 (positive class of two, else the mean over classes) and AUROC (of more than two: the mean of one against the
    rest; NaN where a class does not occur in ``truth``)."""
    guess = known[probability.argmax(axis=1)]
    binary = len(known) == 2
    options: dict[str, Any] = {"pos_label": known[1]} if binary else {"average": "macro", "labels": known}
    auroc = float("nan")
    if len(np.unique(truth)) == len(known):
        score = probability[:, 1] if binary else probability
        auroc = float(
            roc_auc_score(truth == known[1], score)
            if binary
            else roc_auc_score(truth, score, multi_class="ovr", labels=known)
        )
    return {
        "accuracy": float((guess == truth).mean()),
        "f1": float(f1_score(truth, guess, zero_division=0.0, **options)),
        "auroc": auroc,
    }

"""Ridge probe: least squares in closed form, for classes and for measured values; the cheap protocol for few labels.

    w = argmin |X w - Y|^2 + strength * n * |w|^2,   Y one column per class (+1 / -1), or the values

on standardised features; the strength has the least leave-one-out error on the training labels, which is closed form as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import RidgeClassifierCV, RidgeCV

from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.standard import scaling
from anyjepa.evaluation.task import REGRESS, Target

STRENGTHS = (1e2, 1e1, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""L2 strengths tried, per training sample."""


@dataclass(frozen=True)
class RidgeProbe:
    """A fitted probe.

    Attributes:
        mean, scale: what features are standardised with, (F,).
        model: least squares on standardised features.
        strength: the chosen L2 strength.
    """

    mean: Float[np.ndarray, "F"]
    scale: Float[np.ndarray, "F"]
    model: RidgeClassifierCV | RidgeCV
    strength: float

    def predict(self, features: Float[np.ndarray, "m F"]) -> Labels:
        """Classes or values of ``features``."""
        return self.model.predict(_standard(features, self.mean, self.scale))


def fit_ridge(
    features: Float[np.ndarray, "n F"], labels: Labels, *, strengths: tuple[float, ...] = STRENGTHS
) -> RidgeProbe:
    """Fits a probe: whole labels are classified, floats regressed.

    Args:
        features, labels: training vectors and their classes or values.
        strengths: L2 strengths to try.

    Raises:
        DataError: there is one class, or one value, only.
    """
    kind = RidgeCV if Target.of(labels).task == REGRESS else RidgeClassifierCV
    mean, scale = scaling(features)
    model = kind(alphas=np.array(strengths) * len(labels))
    model.fit(_standard(features, mean, scale), labels)
    return RidgeProbe(mean, scale, model, float(model.alpha_) / len(labels))


def _standard(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    # Doubles: with fewer samples than features the closed form divides by small eigenvalues.
    return (features.astype(np.float64) - mean) / scale

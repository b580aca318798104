"""Standardised features: mean 0 and standard deviation 1 over the training samples."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def scaling(features: Float[np.ndarray, "n F"]) -> tuple[Float[np.ndarray, "F"], Float[np.ndarray, "F"]]:
    """Mean and scale of each feature. The scale of one that is constant up to rounding is infinite.

    Such a feature carries nothing; dividing by its spread would make noise of it.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = features.std(axis=0, dtype=np.float64)
    dead = spread <= 1e-6 * np.maximum(1e-12, np.abs(features).max(axis=0))
    return mean, np.where(dead, np.inf, spread).astype(np.float32)
